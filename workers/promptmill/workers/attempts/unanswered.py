"""Finds results for the rows of an attempt that no part answers by key.

Such a row is matched by its request, was refused, is missing from the output, or has a
duplicate with an answer. Otherwise it is deferred to the next attempt.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Error, Result
from promptmill.producers.requests.encode import WireKey, split_wire_key
from promptmill.workers.attempts import adjustments
from promptmill.workers.attempts.deduplication import AnswerStore
from promptmill.workers.attempts.retry_rules import RetryRules
from promptmill.workers.attempts.rows import wanted_rows
from promptmill.workers.facts.records import Counts, Ended, Plan, ResultFile
from promptmill.workers.facts.request_lines import RequestLine, read_lines
from promptmill.workers.facts.row_lists import DeduplicatedRows
from promptmill.workers.facts.row_set import RowSet, RowSetBuilder
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.output import failure_reasons
from promptmill.workers.output.counts import ResultCounter
from promptmill.workers.output.effective_rows import effective_results
from promptmill.workers.output.merge_parts import Resolution
from promptmill.workers.output.result_files import encode_files
from promptmill.workers.output.unkeyed import UnkeyedResult, UnmatchedRows, decode_unkeyed


class UnreadableLines(NamedTuple):
    """How many lines of an attempt name no row, and where the first one is, if that is known.

    If there are as many as rows without a line, the answers of these rows were probably paid
    for. The next line may have the same form: they are retried once, as other unreadable rows.
    """

    number: int = 0
    first: str = ""

    def make_error(self, missing: Error) -> Error:
        """Return the error of a row whose line is probably one of these."""
        place = f". The first is at {self.first}" if self.first else ""
        message = f"{missing.message}, but it has lines that name no row{place}"
        return Error(FailureReason.UNREADABLE_RESPONSE, message)


class UnansweredRows:
    """Writes the results of unanswered rows, and then those of their duplicates."""

    def __init__(
        self,
        attempt: AttemptFolder,
        manifest: Manifest,
        plan: Plan,
        resolution: Resolution,
        ended: Ended,
        rules: RetryRules,
        deduplicated: DeduplicatedRows,
        unreadable: "UnreadableLines",
    ) -> None:
        self._unreadable = unreadable
        self._attempt = attempt
        self._shard_plan = plan.shards[attempt.shard]
        self.first_row = self._shard_plan.first_row
        self._ended = ended
        self._rules = rules
        self._resolved = RowSetBuilder(resolution.answered | resolution.retried)
        self._counter = ResultCounter(plan.price_thresholds)
        self.deduplicated = deduplicated.without_rows(self._resolved.build())
        self.wanted = wanted_rows(attempt, manifest, self._shard_plan) - self.deduplicated.row_set
        self.adjustments = adjustments.load_adjustments(attempt)
        self.cut_off = RowSetBuilder()
        self.invalid: dict[int, str] = {}
        self.unbilled = RowSetBuilder()
        self._retried = RowSetBuilder(resolution.retried)
        self.retried_rows = resolution.retried
        self.files: list[ResultFile] = []
        self._has_strays = False

    def to_counts(self) -> Counts:
        """Return the counts of the written results."""
        return self._counter.to_counts()

    # Duplicate deliveries of this step may disagree about these rows, if the run is cancelled or
    # output is replaced between them. They then write files with different names. The first fact
    # that is stored decides which files count.
    def write_results(self, unkeyed_parts: list[int], parts: range) -> None:
        """Write the results of unanswered rows to files of a bounded size."""
        self._write_files(self._final_results(self._make_results(unkeyed_parts)), parts)

    def write_deduplicated(self, files: list[ResultFile], parts: range) -> int:
        """Write the results of duplicates, from ``files`` and our own; return their number."""
        # Duplicates of a deferred row are deferred with it.
        self.retried_rows = self.deduplicated.expand_rows(self._retried.build())
        remaining = self.deduplicated.without_rows(self.retried_rows)
        if remaining:
            with AnswerStore(remaining, self.first_row) as answers:
                for file in [*files, *self.files]:
                    results = effective_results(self._attempt.bucket, file, self.first_row)
                    answers.add_results(results)
                lines = read_lines(self._attempt.run, self._shard_plan)
                self._write_files(answers.results_for(lines), parts)
        return len(remaining)

    def _write_files(self, results: Iterable[Result], parts: range) -> None:
        for data in encode_files(self._count_results(results)):
            kind = "rest" if self._rules.retries_any else "last"
            name = self._attempt.results_file(f"{kind}-{parts.start}-{len(self.files)}")
            self._attempt.bucket.write(name, data)
            self.files.append(ResultFile(name))

    def _count_results(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            self._counter.add_result(result)
            yield result

    def _final_results(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            if self._defer_row(result):
                self._counter.meter.add_usage(result.usage)
            else:
                yield result

    def _defer_row(self, result: Result) -> bool:
        """Defer a row to the next attempt if a retry may fix it. Returns whether it is deferred."""
        row_offset = self._row_offset(result.row)
        can_adjust = row_offset in self.cut_off or row_offset in self.invalid
        if not result.error or not self._rules.allows_retry(result.error, can_adjust=can_adjust):
            return False
        self._retried.add(row_offset)
        if failure_reasons.is_unbilled(result.error):
            self.unbilled.add(row_offset)
        return True

    def _row_offset(self, row: int) -> int:
        return row - self._shard_plan.first_row

    def _make_results(self, unkeyed_parts: list[int]) -> Iterator[Result]:
        if unkeyed_parts:
            yield from self._match_unkeyed(unkeyed_parts)
        if open_rows := self._open_rows():
            strays = self._unreadable.number + self._counter.states["unknown"]
            self._has_strays = strays >= len(open_rows)
            yield from map(self._unanswered_result, self._open_lines())

    def _open_lines(self) -> Iterator[RequestLine]:
        open_rows = self._open_rows()
        for line in read_lines(self._attempt.run, self._shard_plan):
            if self._row_offset(line.row) in open_rows:
                yield line

    def _open_rows(self) -> RowSet:
        return self.wanted - self._resolved.build()

    def _match_unkeyed(self, parts: Iterable[int]) -> Iterator[Result]:
        unmatched, strays = UnmatchedRows(self._sent_lines()), list[dict[str, object]]()
        for state in ("succeeded", "failed"):
            for unkeyed in self._read_unkeyed(parts):
                if unkeyed.result.state != state:
                    continue
                if matched := unmatched.pop_match(unkeyed):
                    yield self._assign_key(unkeyed, *matched)
                else:
                    self._counter.states["unknown"] += 1
                    strays.append(unkeyed.result.usage)
        # A row without a line was answered by one of them; the others are copies.
        for usage in strays[: len(self._open_rows())]:
            self._counter.meter.add_usage(usage)

    def _sent_lines(self) -> Iterator[bytes]:
        for line in self._open_lines():
            if not line.refused:
                yield self.adjustments.adjust_line(line.data, self._row_offset(line.row))

    def _read_unkeyed(self, parts: Iterable[int]) -> Iterator[UnkeyedResult]:
        for part in parts:
            data = self._attempt.bucket.read(self._attempt.unkeyed(part))
            yield from map(decode_unkeyed, data.split(b"\n")[:-1])

    def _assign_key(self, unkeyed: UnkeyedResult, key: WireKey, metadata: str | None) -> Result:
        row_offset = self._row_offset(key.row)
        self._resolved.add(row_offset)
        if unkeyed.cut_off:
            self.cut_off.add(row_offset)
        error, had_feedback = unkeyed.result.error, row_offset in self.adjustments.feedback.rows
        if unkeyed.invalid and error and not had_feedback:
            self.invalid[row_offset] = error.message
        return unkeyed.with_key(key, metadata)

    def _unanswered_result(self, line: RequestLine) -> Result:
        wire = _decode_refused(line.data)
        key = split_wire_key(wire.key) or WireKey("", line.row, str(line.row))
        metadata = None if wire.metadata is None else msgspec.json.decode(wire.metadata)
        return Result(
            key=key.key,
            row=line.row,
            state="failed",
            attempt=self._attempt.number,
            metadata=metadata,
            error=self._find_error(line, wire),
        )

    def _find_error(self, line: RequestLine, wire: "_RefusedLine") -> Error:
        if line.refused:
            return Error(FailureReason.INVALID_REQUEST, f"row {line.row}: {wire.error}")
        error = failure_reasons.error_for_missing(self._ended.job, self._ended.reason)
        if self._has_strays and error.reason == FailureReason.MISSING_ROW:
            return self._unreadable.make_error(error)
        return error


class _RefusedLine(msgspec.Struct):
    key: str
    metadata: str | None = None
    error: str = ""


_decode_refused = msgspec.json.Decoder(_RefusedLine).decode
