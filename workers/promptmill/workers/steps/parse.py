"""Turns the output lines of one part into results.

Output may be out of order, incomplete or repeated, and may contain lines that are not ours.
A row is identified by the key that Vertex echoes. Every line counts as exactly one of
answered, duplicate, unknown or unreadable; lines without a key are kept for ``settle``.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.producers.contract.failure_reasons import (
    RETRIED_ONCE,
    FailureReason,
)
from promptmill.producers.contract.kept_parts import covers_all
from promptmill.producers.contract.results import Error, Result
from promptmill.producers.requests.encode import WireKey, split_wire_key
from promptmill.workers.attempts import deduplication, retryable
from promptmill.workers.attempts.retryable import RetryPolicy
from promptmill.workers.attempts.rows import wanted_rows
from promptmill.workers.costs.usage import UsageMeter
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Counts, Parsed, PartRange
from promptmill.workers.facts.row_set import RowSet, RowSetBuilder
from promptmill.workers.facts.run_folder import FIRST_ATTEMPT, AttemptFolder
from promptmill.workers.output import failure_reasons
from promptmill.workers.output.answer_line import (
    OutputLine,
    build_result,
    list_paid_parts,
    parse_objects,
    read_usage,
)
from promptmill.workers.output.counts import count_result
from promptmill.workers.output.lenient_json import decode_object
from promptmill.workers.output.line_ranges import read_lines
from promptmill.workers.output.part_selection import select_parts
from promptmill.workers.output.unkeyed import UnkeyedResult, hash_request
from promptmill.workers.ports.google import Bucket

_MAX_OFFSETS = 1000
_BLANKS = b" \t\r\n\0"
_NO_RETRIES = RetryPolicy()
_encode = msgspec.json.Encoder().encode


def parse(attempt: AttemptFolder, part: int) -> Parsed | None:
    """Write the results of one part, then their counts; the bytes are the same every time.

    Returns None if the file was replaced: the output must be collected again.
    """
    part_range = attempt.parts.get().parts[part]
    try:
        return attempt.parsed(part).get_or_create(lambda: _parse_part(attempt, part, part_range))
    except NotFound:
        if _is_replaced(attempt.bucket, part_range):
            return None
        raise


def _is_replaced(bucket: Bucket, part_range: PartRange) -> bool:
    current = bucket.find(part_range.name)
    return current is not None and current.generation != part_range.generation


def _parse_part(attempt: AttemptFolder, part: int, part_range: PartRange) -> Parsed:
    reader = _make_reader(attempt, part_range)
    results = b"".join(reader.read_results(read_lines(attempt.bucket, part_range)))
    attempt.bucket.write(attempt.results(part), results)
    if reader.unkeyed:
        attempt.bucket.write(attempt.unkeyed(part), b"".join(reader.unkeyed))
    return reader.build_parsed()


def _make_reader(attempt: AttemptFolder, part_range: PartRange) -> "PartReader":
    manifest, plan = attempt.run.manifest.get(), attempt.run.plan.get()
    shard_plan = plan.shards[attempt.shard]
    wanted = wanted_rows(attempt, manifest, shard_plan)
    return PartReader(
        names.tag(attempt.run.id),
        shard_plan.first_row,
        attempt.number,
        wanted - deduplication.load_deduplicated(attempt, plan).row_set,
        retryable.load_policy(attempt, manifest),
        UsageMeter(plan.price_thresholds),
        source=f"{attempt.bucket.url}/{part_range.name}",
        keep=manifest.keep,
    )


class PartReader:
    """Reads the lines of one part and counts them.

    Exhaust ``read_results`` before calling ``build_parsed``. Failed rows that
    ``retry_policy`` can adjust count as transient. ``meter`` counts billed tokens. Errors of
    unreadable lines name the file ``source``. Results have the parts that ``keep`` names.
    """

    def __init__(
        self,
        tag: str,
        first_row: int,
        attempt: int,
        wanted: RowSet,
        retry_policy: RetryPolicy = _NO_RETRIES,
        meter: UsageMeter | None = None,
        source: str = "",
        keep: Sequence[str] = (),
    ) -> None:
        self._keep = keep
        self._uncovered = not covers_all(keep)
        self._unkept: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._source = source
        self._offset = 0
        self._tag = tag
        self._first_row = first_row
        self._attempt = attempt
        self._retry_policy = retry_policy
        self._wanted = wanted
        self._succeeded = RowSetBuilder()
        self._failed = RowSetBuilder()
        self._transient = RowSetBuilder()
        self._cut_off = RowSetBuilder()
        self._invalid = RowSetBuilder()
        self._unbilled = RowSetBuilder()
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._meter = meter or UsageMeter()
        self._unreadable_at: list[int] = []
        self.unkeyed: list[bytes] = []

    def read_results(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
        """Yield results as lines of JSON, at most one success and one failure per row."""
        for line, data in self._parse_lines(lines):
            if line is None:
                self._note_unreadable(data)
            elif (key := split_wire_key(line.key or "")) is None:
                self.unkeyed.append(self._encode_unkeyed(line, data))
            elif not self._is_ours(key):
                self._counts["unknown"] += 1
            elif result := self._accept_first(self._make_result(line, data, key), data):
                yield _encode(result) + b"\n"

    def _parse_lines(
        self, lines: Iterator[tuple[int, bytes]]
    ) -> Iterator[tuple[OutputLine | None, bytes]]:
        for self._offset, raw in lines:
            yield from parse_objects(raw)

    def build_parsed(self) -> Parsed:
        """Return the counts and rows of the lines read so far."""
        return Parsed(
            counts=Counts(
                succeeded=self._counts["succeeded"],
                failed=self._counts["failed"],
                failures=dict(sorted(self._failures.items())),
                tokens=self._meter.token_counts,
                billed=self._meter.billed_tokens,
                duplicates=self._counts["duplicates"],
                unknown=self._counts["unknown"],
                unreadable=self._counts["unreadable"],
                unkept={
                    part: count
                    for part, count in sorted(self._unkept.items())
                    if part not in self._keep
                },
                models={model: count for model, count in sorted(self._models.items()) if model},
            ),
            succeeded=self._succeeded.build().pack(),
            failed=self._failed.build().pack(),
            transient_rows=self._transient.build().pack(),
            unkeyed=len(self.unkeyed),
            unreadable_at=self._unreadable_at,
            at=records.current_time(),
            cut_off=self._cut_off.build().pack(),
            invalid=self._invalid.build().pack(),
            unbilled=self._unbilled.build().pack(),
        )

    def _note_unreadable(self, data: bytes) -> None:
        if not data.strip(_BLANKS):
            return
        self._counts["unreadable"] += 1
        self._meter.add_usage(read_usage(data))
        if len(self._unreadable_at) < _MAX_OFFSETS:
            self._unreadable_at.append(self._offset)

    def _is_ours(self, key: WireKey) -> bool:
        return key.tag == self._tag and key.row - self._first_row in self._wanted

    def _make_result(self, line: OutputLine, data: bytes, key: WireKey) -> Result:
        result = build_result(line, data, key, self._attempt)
        self._models[result.model_version] += 1
        if self._keep:
            response = select_parts(decode_object(data).get("response"), self._keep)
            result = msgspec.structs.replace(result, response=response)
        if self._uncovered and (paid_parts := list_paid_parts(line)):
            self._unkept.update(paid_parts)
        if result.error and result.error.reason == FailureReason.UNREADABLE_RESPONSE:
            location = f"The line is at byte {self._offset} of {self._source}"
            error = Error(result.error.reason, f"{result.error.message}. {location}")
            return msgspec.structs.replace(result, error=error)
        return self._retry_policy.validate_result(result)

    def _accept_first(self, result: Result, data: bytes) -> Result | None:
        """Return a row's first success, or its first failure before one; None for a duplicate."""
        row = result.row - self._first_row
        if row in self._succeeded or (row in self._failed and not result.succeeded):
            self._counts["duplicates"] += 1
            return None
        if result.succeeded:
            self._succeeded.add(row)
        else:
            self._failed.add(row)
            self._note_retryable(result, data, row)
        count_result(result, self._counts, self._failures, self._meter)
        return result

    def _note_retryable(self, failed: Result, data: bytes, row: int) -> None:
        cut_off = self._retry_policy.can_raise_tokens(failed, data)
        invalid = self._retry_policy.can_send_feedback(failed, row)
        if cut_off:
            self._cut_off.add(row)
        if invalid:
            self._invalid.add(row)
        if cut_off or invalid or (failed.error and self._can_repeat(failed.error)):
            self._transient.add(row)
        if failed.error and failure_reasons.is_unbilled(failed.error):
            self._unbilled.add(row)

    def _can_repeat(self, error: Error) -> bool:
        is_first = self._attempt == FIRST_ATTEMPT
        is_retried_once = is_first and error.reason in RETRIED_ONCE
        return failure_reasons.is_transient(error) or is_retried_once

    # The hash of the echoed request may match the result to a row later.
    def _encode_unkeyed(self, line: OutputLine, data: bytes) -> bytes:
        result = self._make_result(line, data, WireKey("", 0, ""))
        cut_off = self._retry_policy.can_raise_tokens(result, data)
        invalid = self._retry_policy.can_send_feedback(result)
        digest, exact = hash_request(data)
        return _encode(UnkeyedResult(digest, result, cut_off, invalid, exact)) + b"\n"
