"""Keeps the answers of a job that was given up and ended after all: they are paid for."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Result
from promptmill.workers.attempts import adjustments, deduplication
from promptmill.workers.attempts.deduplication import AnswerStore
from promptmill.workers.attempts.retryable import RetryPolicy
from promptmill.workers.attempts.rows import wanted_rows
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Harvested, PartRange, Plan, Settled, ShardPlan
from promptmill.workers.facts.request_lines import read_lines as rows_of
from promptmill.workers.facts.step import Wait
from promptmill.workers.output import schema_validation
from promptmill.workers.output.effective_rows import effective_results
from promptmill.workers.output.line_ranges import read_lines
from promptmill.workers.output.unkeyed import UnmatchedRows, decode_unkeyed
from promptmill.workers.ports.google import Bucket
from promptmill.workers.steps.collect import list_ranges
from promptmill.workers.steps.parse import PartReader

_BATCH_SIZE = 2000
"""Results of copies in one file."""
_decode = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode


def harvest(
    bucket: Bucket, run: str, shard: int, attempt: int, part_bytes: int
) -> Harvested | Wait:
    """Write the late answers of an attempt that is settled into the run's folder ``content``, and say how many there are.

    They are those of rows that the attempt has no answer for. Results, sinks and report of the run stay as they are.
    """
    folder = names.shard(run, shard, attempt)
    if bucket.find(folder + "harvested.json") is None:
        part_ranges = list_ranges(bucket, folder, "late.json", part_bytes)
        if isinstance(part_ranges, Wait):
            return part_ranges
        answer_count = _LateAnswers(
            bucket, _AttemptRef(run, shard, attempt), part_ranges
        ).write_files()
        records.create_fact(
            bucket, folder + "harvested.json", Harvested(answer_count, records.current_time())
        )
    bucket.delete(names.abandoned_job(run, shard, attempt))
    return records.get_fact(bucket, folder + "harvested.json", Harvested)


class _AttemptRef(NamedTuple):
    run: str
    shard: int
    attempt: int


class _LateAnswers:
    """The late answers of one attempt, part by part: first those with keys, then those that are known by their request."""

    def __init__(
        self, bucket: Bucket, attempt_ref: _AttemptRef, part_ranges: list[PartRange]
    ) -> None:
        self._bucket, self._attempt_ref, self._part_ranges = bucket, attempt_ref, part_ranges
        manifest = records.get_fact(bucket, names.manifest(attempt_ref.run), Manifest)
        plan = records.get_fact(bucket, names.plan(attempt_ref.run), Plan)
        self._shard_plan = plan.shards[attempt_ref.shard]
        answered = _answered_rows(bucket, attempt_ref, self._shard_plan)
        self._deduplicated = deduplication.load_deduplicated(
            bucket, *attempt_ref, plan
        ).without_rows(answered)
        self._wanted = (
            wanted_rows(bucket, manifest, attempt_ref.shard, attempt_ref.attempt, self._shard_plan)
            & ~answered
            & ~self._deduplicated.row_bitmap
        )
        self._unkeyed_parts: list[int] = []
        self._retry_policy = RetryPolicy(validator=schema_validation.make_validator(manifest))

    def write_files(self) -> int:
        """Write files that are the same however often they are written; returns how many answers are in them."""
        answer_count = sum(
            self._write_file(part, self._read_keyed(part)) for part in range(len(self._part_ranges))
        )
        if self._unkeyed_parts:
            unmatched = UnmatchedRows(self._unanswered_lines())
            file_counts = (
                self._write_file(
                    len(self._part_ranges) + part, self._match_unkeyed(part, unmatched)
                )
                for part in self._unkeyed_parts
            )
            answer_count += sum(file_counts)
        return answer_count + self._write_deduplicated()

    def _write_deduplicated(self) -> int:
        """Write the answers of the rows that have another's, read from the late ones that are written."""
        if not self._deduplicated:
            return 0
        late_parts = [
            *range(len(self._part_ranges)),
            *(len(self._part_ranges) + part for part in self._unkeyed_parts),
        ]
        with AnswerStore(self._deduplicated, self._shard_plan.first_row) as answers:
            for part in late_parts:
                content = self._bucket.read(names.late(*self._attempt_ref, part))
                answers.add_results(map(_decode, content.split(b"\n")[:-1]))
            deduplicated_results = answers.results_for(
                rows_of(self._bucket, self._attempt_ref.run, self._shard_plan)
            )
            first_part = 2 * len(self._part_ranges)
            return sum(
                self._write_file(first_part + part, batch)
                for part, batch in enumerate(_batch_results(deduplicated_results))
            )

    def _write_file(self, part: int, results: Iterable[Result]) -> int:
        encoded = [_encode(result) + b"\n" for result in results]
        self._bucket.write(names.late(*self._attempt_ref, part), b"".join(encoded))
        return len(encoded)

    def _make_reader(self) -> PartReader:
        tag = names.tag(self._attempt_ref.run)
        attempt_ref, shard_plan = self._attempt_ref, self._shard_plan
        return PartReader(
            tag,
            shard_plan.first_row,
            shard_plan.requests,
            attempt_ref.attempt,
            self._wanted,
            self._retry_policy,
        )

    def _read_keyed(self, part: int) -> Iterator[Result]:
        reader = self._make_reader()
        for line in reader.read_results(read_lines(self._bucket, self._part_ranges[part])):
            if (result := _decode(line)).succeeded:
                yield result
        self._wanted &= ~records.unpack_rows(reader.build_parsed().succeeded)
        if reader.unkeyed:
            self._unkeyed_parts.append(part)

    def _unanswered_lines(self) -> Iterator[bytes]:
        """The wire lines of the rows that have no answer yet, as the attempt asked them."""
        row_adjustments = adjustments.load_adjustments(self._bucket, *self._attempt_ref)
        for line in rows_of(self._bucket, self._attempt_ref.run, self._shard_plan):
            row_offset = line.row - self._shard_plan.first_row
            if self._wanted >> row_offset & 1 and not line.refused:
                yield row_adjustments.adjust_line(line.data, row_offset)

    def _match_unkeyed(self, part: int, unmatched: UnmatchedRows) -> Iterator[Result]:
        reader = self._make_reader()
        for _ in reader.read_results(read_lines(self._bucket, self._part_ranges[part])):
            pass  # those with keys are written
        for unkeyed in map(decode_unkeyed, reader.unkeyed):
            if unkeyed.result.succeeded and (matched := unmatched.pop_match(unkeyed.hash)):
                yield unkeyed.with_key(*matched)


def _batch_results(results: Iterator[Result]) -> Iterator[list[Result]]:
    while batch := list(islice(results, _BATCH_SIZE)):
        yield batch


def _answered_rows(bucket: Bucket, attempt_ref: _AttemptRef, shard_plan: ShardPlan) -> int:
    """The rows of the shard that the attempt has an answer for, as a bitmap."""
    answered = 0
    for file in records.get_fact(bucket, names.shard(*attempt_ref) + "settled.json", Settled).files:
        for result in effective_results(bucket, file, shard_plan.first_row):
            answered |= result.succeeded << (result.row - shard_plan.first_row)
    return answered
