"""Makes results of the lines of one part of a job's output.

Output order is never trusted, nor that every line is there, there once, or one of ours: a row is known by the key that
Vertex echoes, and every line is counted as exactly one of answered, duplicate, unknown or unreadable.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Result
from promptmill.producers.requests.encode import WireKey, split_wire_key
from promptmill.workers.attempts import deduplication, retryable
from promptmill.workers.attempts.retryable import Chances
from promptmill.workers.costs.usage import Meter
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Counts, Parsed, PartRange, Parts, Plan
from promptmill.workers.output import failure_reasons
from promptmill.workers.output.answer_line import Line, read, result_of
from promptmill.workers.output.counts import count
from promptmill.workers.output.line_ranges import lines
from promptmill.workers.output.nested_json import unnested
from promptmill.workers.output.unkeyed import Unkeyed, request_hash
from promptmill.workers.ports.google import Bucket
from promptmill.workers.steps.shard import wanted_rows

_KEEP_OFFSETS = 1000
_NONE = Chances()
_encode = msgspec.json.Encoder().encode


def parse(bucket: Bucket, run: str, index: int, attempt: int, part: int) -> Parsed | None:
    """Write the results of one part, then the fact of what was counted; the same bytes every time.

    None when the file was replaced since it was divided into parts: then the output has to be collected anew.
    """
    piece = parts(bucket, run, index, attempt).parts[part]
    try:
        fact = names.parsed(run, index, attempt, part)
        return records.once(bucket, fact, Parsed, lambda: _parse(bucket, run, index, attempt, part, piece))
    except NotFound:
        if _was_replaced(bucket, piece):
            return None
        raise


def _was_replaced(bucket: Bucket, piece: PartRange) -> bool:
    now = bucket.find(piece.name)
    return now is not None and now.generation != piece.generation


def _parse(bucket: Bucket, run: str, index: int, attempt: int, part: int, piece: PartRange) -> Parsed:
    manifest, plan = records.get(bucket, names.manifest(run), Manifest), records.get(bucket, names.plan(run), Plan)
    rows = plan.shards[index]
    asked = (
        wanted_rows(bucket, manifest, index, attempt, rows)
        & ~deduplication.load(bucket, run, index, attempt, plan).rows
    )
    more = retryable.load(bucket, manifest, index, attempt)
    reader = PartReader(names.tag(run), rows.first_row, rows.requests, attempt, asked, more, Meter(plan.thresholds))
    bucket.write(names.results(run, index, attempt, part), b"".join(reader.results(lines(bucket, piece))))
    if reader.unkeyed:
        bucket.write(names.unkeyed(run, index, attempt, part), b"".join(reader.unkeyed))
    return reader.parsed()


def parts(bucket: Bucket, run: str, index: int, attempt: int) -> Parts:
    """Return the parts of the output of a job."""
    return records.get(bucket, names.shard(run, index, attempt) + "parts.json", Parts)


class PartReader:
    """Reads the lines of one part; what it saw is in ``parsed`` when ``results`` is exhausted.

    Rows that have a chance to be mended are among those that a second try can mend. ``meter`` counts what is paid for.
    """

    def __init__(
        self,
        tag: str,
        first_row: int,
        requests: int,
        attempt: int,
        wanted: int,
        more: Chances = _NONE,
        meter: Meter | None = None,
    ) -> None:
        self._tag = tag
        self._first_row = first_row
        self._attempt = attempt
        self._chances = more
        self._wanted = wanted.to_bytes((requests + 7) // 8, "little")
        self._passing = bytearray((requests + 7) // 8)
        self._cut_off = bytearray((requests + 7) // 8)
        self._invalid = bytearray((requests + 7) // 8)
        self._succeeded = bytearray((requests + 7) // 8)
        self._failed = bytearray((requests + 7) // 8)
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._meter = meter or Meter()
        self._unreadable_at: list[int] = []
        self.unkeyed: list[bytes] = []

    def results(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
        """Yield each result as a line of JSON: at most one success and one failure for a row."""
        for offset, raw in lines:
            data = unnested(raw)
            line = read(data)
            if line is None:
                self._counts["unreadable"] += 1
                if len(self._unreadable_at) < _KEEP_OFFSETS:
                    self._unreadable_at.append(offset)
            elif line.key is None:
                self.unkeyed.append(self._unkeyed_line(line, data))
            else:
                key = split_wire_key(line.key)
                if key is None or not self._is_ours(key):
                    self._counts["unknown"] += 1
                elif result := self._first(self._result(line, data, key), data):
                    yield _encode(result) + b"\n"

    def parsed(self) -> Parsed:
        """Return what was counted."""
        return Parsed(
            counts=Counts(
                succeeded=self._counts["succeeded"],
                failed=self._counts["failed"],
                failures=dict(sorted(self._failures.items())),
                tokens=self._meter.tokens,
                billed=self._meter.billed,
                duplicates=self._counts["duplicates"],
                unknown=self._counts["unknown"],
                unreadable=self._counts["unreadable"],
            ),
            succeeded=records.pack(int.from_bytes(self._succeeded, "little")),
            failed=records.pack(int.from_bytes(self._failed, "little")),
            passing=records.pack(int.from_bytes(self._passing, "little")),
            unkeyed=len(self.unkeyed),
            unreadable_at=self._unreadable_at,
            at=records.now(),
            cut_off=records.pack(int.from_bytes(self._cut_off, "little")),
            invalid=records.pack(int.from_bytes(self._invalid, "little")),
        )

    def _is_ours(self, key: WireKey) -> bool:
        byte, bit = divmod(key.row - self._first_row, 8)
        return key.tag == self._tag and 0 <= byte < len(self._wanted) and bool(self._wanted[byte] >> bit & 1)

    def _result(self, line: Line, data: bytes, key: WireKey) -> Result:
        return self._chances.judged(result_of(line, data, key, self._attempt))

    def _first(self, result: Result, data: bytes) -> Result | None:
        """Pass the first success and the first failure of a row; a failure after a success says nothing new."""
        byte, bit = divmod(result.row - self._first_row, 8)
        mask = 1 << bit
        seen = self._succeeded if result.succeeded else self._failed
        if self._succeeded[byte] & mask or seen[byte] & mask:
            self._counts["duplicates"] += 1
            return None
        seen[byte] |= mask
        cut_off = self._chances.cut_off(result, data)
        invalid = self._chances.invalid(result, result.row - self._first_row)
        if cut_off or invalid or (result.error and result.error.reason in failure_reasons.PASSING):
            self._passing[byte] |= mask
        self._cut_off[byte] |= mask * cut_off
        self._invalid[byte] |= mask * invalid
        count(result, self._counts, self._failures, self._meter)
        return result

    def _unkeyed_line(self, line: Line, data: bytes) -> bytes:
        """A result without its key, and the hash of the request that Vertex echoed, by which it may yet be known."""
        result = self._result(line, data, WireKey("", 0, ""))
        cut_off, invalid = self._chances.cut_off(result, data), self._chances.invalid(result)
        return _encode(Unkeyed(request_hash(data), result, cut_off, invalid)) + b"\n"
