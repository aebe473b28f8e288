"""Stores the late answers of an abandoned job that ended after all: they are billed."""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from promptmill.config import names
from promptmill.producers.contract.results import Result
from promptmill.workers.attempts import adjustments, deduplication
from promptmill.workers.attempts.deduplication import AnswerStore
from promptmill.workers.attempts.retryable import RetryPolicy
from promptmill.workers.attempts.rows import wanted_rows
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Harvested, PartRange, ShardPlan
from promptmill.workers.facts.request_lines import read_lines as rows_of
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.facts.step import Wait
from promptmill.workers.output import schema_validation
from promptmill.workers.output.effective_rows import effective_results
from promptmill.workers.output.line_ranges import read_lines
from promptmill.workers.output.unkeyed import UnmatchedRows, decode_unkeyed
from promptmill.workers.steps.collect import list_ranges
from promptmill.workers.steps.parse import PartReader

_BATCH_SIZE = 2000
"""Maximum results of duplicate rows in one file."""
_decode = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode


def harvest(attempt: AttemptFolder, part_bytes: int) -> Harvested | Wait:
    """Write the late answers of a settled attempt to the run's folder ``late``.

    Only rows without an answer in the attempt count. The run's results, sinks and report
    do not change.
    """
    if not attempt.harvested.exists():
        part_ranges = list_ranges(attempt, attempt.late_end, part_bytes)
        if isinstance(part_ranges, Wait):
            return part_ranges
        answer_count = _LateAnswers(attempt, part_ranges).write_files()
        attempt.harvested.create(Harvested(answer_count, records.current_time()))
    attempt.bucket.delete(attempt.abandoned_marker)
    return attempt.harvested.get()


class _LateAnswers:
    """Writes late answers: first those with a key, then those matched by their request."""

    def __init__(self, attempt: AttemptFolder, part_ranges: list[PartRange]) -> None:
        self._attempt, self._part_ranges = attempt, part_ranges
        manifest, plan = attempt.run.manifest.get(), attempt.run.plan.get()
        self._shard_plan = plan.shards[attempt.shard]
        answered = _answered_rows(attempt, self._shard_plan)
        deduplicated = deduplication.load_deduplicated(attempt, plan)
        self._deduplicated = deduplicated.without_rows(answered)
        self._wanted = (
            wanted_rows(attempt, manifest, self._shard_plan) - answered - self._deduplicated.row_set
        )
        self._unkeyed_parts: list[int] = []
        self._retry_policy = RetryPolicy(validator=schema_validation.make_validator(manifest))
        self._keep = manifest.keep

    def write_files(self) -> int:
        """Write the files, with the same bytes every time; returns the number of answers."""
        parts = range(len(self._part_ranges))
        answer_count = sum(self._write_file(part, self._read_keyed(part)) for part in parts)
        if self._unkeyed_parts:
            unmatched = UnmatchedRows(self._unanswered_lines())
            for part in self._unkeyed_parts:
                matched = self._match_unkeyed(part, unmatched)
                answer_count += self._write_file(len(parts) + part, matched)
        return answer_count + self._write_deduplicated()

    def _list_parts(self) -> list[int]:
        """Return the parts written so far: those with keys, then those matched."""
        keyed_count = len(self._part_ranges)
        return [*range(keyed_count), *(keyed_count + part for part in self._unkeyed_parts)]

    def _write_deduplicated(self) -> int:
        """Write the answers of duplicate rows, copied from the late answers written before."""
        if not self._deduplicated:
            return 0
        with AnswerStore(self._deduplicated, self._shard_plan.first_row) as answers:
            for part in self._list_parts():
                content = self._attempt.bucket.read(self._attempt.late(part))
                answers.add_results(map(_decode, content.split(b"\n")[:-1]))
            deduplicated_results = answers.results_for(rows_of(self._attempt.run, self._shard_plan))
            first_part = 2 * len(self._part_ranges)
            return sum(
                self._write_file(first_part + part, batch)
                for part, batch in enumerate(_batch_results(deduplicated_results))
            )

    def _write_file(self, part: int, results: Iterable[Result]) -> int:
        encoded = [_encode(result) + b"\n" for result in results]
        self._attempt.bucket.write(self._attempt.late(part), b"".join(encoded))
        return len(encoded)

    def _make_reader(self) -> PartReader:
        tag, first_row = names.tag(self._attempt.run.id), self._shard_plan.first_row
        number, policy, keep = self._attempt.number, self._retry_policy, self._keep
        return PartReader(tag, first_row, number, self._wanted, policy, keep=keep)

    def _read_keyed(self, part: int) -> Iterator[Result]:
        reader = self._make_reader()
        for line in reader.read_results(read_lines(self._attempt.bucket, self._part_ranges[part])):
            if (result := _decode(line)).succeeded:
                yield result
        self._wanted -= RowSet.unpack(reader.build_parsed().succeeded)
        if reader.unkeyed:
            self._unkeyed_parts.append(part)

    def _unanswered_lines(self) -> Iterator[bytes]:
        """Yield the request lines of rows without an answer, as this attempt sent them."""
        row_adjustments = adjustments.load_adjustments(self._attempt)
        for line in rows_of(self._attempt.run, self._shard_plan):
            row_offset = line.row - self._shard_plan.first_row
            if row_offset in self._wanted and not line.refused:
                yield row_adjustments.adjust_line(line.data, row_offset)

    def _match_unkeyed(self, part: int, unmatched: UnmatchedRows) -> Iterator[Result]:
        reader = self._make_reader()
        for _ in reader.read_results(read_lines(self._attempt.bucket, self._part_ranges[part])):
            pass  # answers with keys have been written already
        for unkeyed in map(decode_unkeyed, reader.unkeyed):
            if unkeyed.result.succeeded and (matched := unmatched.pop_match(unkeyed)):
                yield unkeyed.with_key(*matched)


def _batch_results(results: Iterator[Result]) -> Iterator[list[Result]]:
    while batch := list(islice(results, _BATCH_SIZE)):
        yield batch


def _answered_rows(attempt: AttemptFolder, shard_plan: ShardPlan) -> RowSet:
    """Return the rows of the shard that the attempt has answered."""
    return RowSet.of(
        result.row - shard_plan.first_row
        for file in attempt.settled.get().files
        for result in effective_results(attempt.bucket, file, shard_plan.first_row)
        if result.succeeded
    )
