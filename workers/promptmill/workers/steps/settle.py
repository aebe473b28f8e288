"""Gives every row of an attempt exactly one final state, or another attempt, once all parts are parsed.

A row may be answered in several parts, or in none. The first success counts, else the first failure, in the order of
parts; a row without any gets a failure that says why. Answers that came back without a key are joined by their request.
Rows whose failure may pass are put off to the next attempt, unless this was the last.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

import msgspec

from promptmill.config import names
from promptmill.producers.messages import Manifest
from promptmill.producers.requests import WireKey, split_wire_key
from promptmill.producers.results import Error, Result
from promptmill.workers import budget, facts, reasons
from promptmill.workers.billing import Meter
from promptmill.workers.correlate import Rows, Unkeyed, decode_unkeyed
from promptmill.workers.facts import Counts, Ended, Parsed, Parts, Plan, ResultFile, Settled, ShardPlan
from promptmill.workers.kept import kept_results
from promptmill.workers.ports import Bucket
from promptmill.workers.steps.parse import count
from promptmill.workers.steps.shard import RowLine, lines, wanted_rows

_FILE = 8 << 20
_encode = msgspec.json.Encoder().encode


def settle(bucket: Bucket, run: str, index: int, attempt: int) -> Settled:
    """Write down the files that hold one final state for every row of the shard, and what they add up to."""
    folder = names.shard(run, index, attempt)
    if bucket.find(folder + "settled.json") is None:
        facts.put(bucket, folder + "settled.json", _settle(bucket, run, index, attempt))
    return facts.get(bucket, folder + "settled.json", Settled)


class PartRows(NamedTuple):
    """Bitmaps of the rows that one part answers: succeeded, failed, and of those the ones a second try can mend."""

    succeeded: int
    failed: int
    passing: int


class Drop(NamedTuple):
    """Bitmaps of one part's rows that are to be passed over, and how many of them are duplicates."""

    succeeded: int
    failed: int
    duplicates: int


class Resolution(NamedTuple):
    """What each part is to drop, the rows with a final answer, and the rows to be tried again."""

    drops: list[Drop]
    answered: int
    again: int


def resolve(parts: list[PartRows], last: bool) -> Resolution:
    """Decide which part answers which row; at the ``last`` attempt no row is tried again."""
    succeeded = _union(part.succeeded for part in parts)
    lasting = _union(part.failed & ~part.passing for part in parts)
    again = 0 if last else _union(part.passing for part in parts) & ~succeeded & ~lasting
    drop_succeeded, answered = _all_but_first((part.succeeded for part in parts), 0)
    drop_failed, seen = _all_but_first((part.failed for part in parts), answered)
    drops = [
        Drop(s, f | part.failed & again, s.bit_count() + f.bit_count())
        for part, s, f in zip(parts, drop_succeeded, drop_failed, strict=True)
    ]
    return Resolution(drops, seen & ~again, again)


def _union(bitmaps: Iterable[int]) -> int:
    return reduce(or_, bitmaps, 0)


def _all_but_first(bitmaps: Iterable[int], seen: int) -> tuple[list[int], int]:
    """For each bitmap the rows that were seen before it, and the rows seen in all."""
    repeated = []
    for bitmap in bitmaps:
        repeated.append(bitmap & seen)
        seen |= bitmap
    return repeated, seen


def _settle(bucket: Bucket, run: str, index: int, attempt: int) -> Settled:
    folder = names.shard(run, index, attempt)
    plan = facts.get(bucket, names.plan(run), Plan)
    rows = plan.shards[index]
    ended = facts.get(bucket, folder + "ended.json", Ended)
    last = _is_last(bucket, run, attempt, ended)
    parts = len(facts.get(bucket, folder + "parts.json", Parts).parts)
    parsed = [facts.get(bucket, names.parsed(run, index, attempt, part), Parsed) for part in range(parts)]
    resolution = resolve([PartRows(*map(facts.unpack, (p.succeeded, p.failed, p.passing))) for p in parsed], last)
    files, counts, put_off = [], Counts(), resolution.again
    for part, (one, drop) in enumerate(zip(parsed, resolution.drops, strict=True)):
        packed = facts.pack(drop.succeeded), facts.pack(drop.failed)
        files.append(ResultFile(names.results(run, index, attempt, part), *packed))
        if any(packed):
            paid = put_off & facts.unpack(one.failed)
            counts += _recount(bucket, files[-1], rows, one.counts, drop, paid, plan.thresholds)
            put_off &= ~paid
        else:
            counts += one.counts
    rest = _Rest(bucket, run, index, attempt, rows, resolution, ended, last, plan.thresholds)
    rest.write([part for part, one in enumerate(parsed) if one.unkeyed], first_file=parts)
    return Settled(
        files=files + rest.files,
        counts=counts + rest.counts(),
        requests=rest.wanted.bit_count(),
        at=facts.now(),
        again=facts.pack(rest.again),
        retried=rest.again.bit_count(),
        raised=facts.pack(_raised(parsed, rest)),
    )


def _raised(parsed: list[Parsed], rest: "_Rest") -> int:
    """The rows of the next attempt that get more tokens: they were cut off in this one, or in one before."""
    return _union([rest.more.rows, rest.cut_off, *(facts.unpack(one.cut_off) for one in parsed)]) & rest.again


def _is_last(bucket: Bucket, run: str, attempt: int, ended: Ended) -> bool:
    most = facts.get(bucket, names.manifest(run), Manifest).max_attempts
    return (attempt >= most and not ended.again) or bucket.find(names.cancelled(run)) is not None


def _recount(
    bucket: Bucket, file: ResultFile, rows: ShardPlan, counts: Counts, drop: Drop, paid: int, thresholds: Sequence[int]
) -> Counts:
    """Count a part anew without the rows that are passed over.

    Of those, the ``paid`` ones, which are put off, used tokens all the same; a row that is answered twice is paid for once.
    """
    tally, everyone = _Tally(thresholds), (1 << rows.requests) - 1
    for result in kept_results(bucket, file, rows.first_row):
        tally.add(result)
    others = ResultFile(file.name, facts.pack(everyone), facts.pack(everyone & ~paid))
    for result in kept_results(bucket, others, rows.first_row) if paid else ():
        tally.meter.add(result.usage)
    return msgspec.structs.replace(
        tally.counts(),
        duplicates=counts.duplicates + drop.duplicates,
        unknown=counts.unknown,
        unreadable=counts.unreadable,
    )


class _Tally:
    def __init__(self, thresholds: Sequence[int] = (0,)) -> None:
        self.states: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.meter = Meter(thresholds)

    def add(self, result: Result) -> None:
        count(result, self.states, self.failures, self.meter)

    def counts(self) -> Counts:
        return Counts(
            succeeded=self.states["succeeded"],
            failed=self.states["failed"],
            failures=dict(sorted(self.failures.items())),
            tokens=self.meter.tokens,
            billed=self.meter.billed,
            duplicates=self.states["duplicate"],
            unknown=self.states["unknown"],
        )


class _Rest:
    """The rows that no part answers: joined by their request, refused by lint, missing, or put off."""

    def __init__(
        self,
        bucket: Bucket,
        run: str,
        index: int,
        attempt: int,
        rows: ShardPlan,
        resolution: Resolution,
        ended: Ended,
        last: bool,
        thresholds: Sequence[int],
    ) -> None:
        self._bucket = bucket
        self._run, self._index, self._attempt = run, index, attempt
        self._rows = rows
        self._ended = ended
        self._last = last
        self._passing = reasons.PASSING | ({ended.reason} if ended.again else frozenset())
        self._done = resolution.answered | resolution.again
        self._tally = _Tally(thresholds)
        self.wanted = wanted_rows(bucket, run, index, attempt, rows)
        self.more = budget.load(bucket, run, index, attempt)
        self.cut_off = 0
        self.again = resolution.again
        self.files: list[ResultFile] = []

    def counts(self) -> Counts:
        """Return what was counted while writing."""
        return self._tally.counts()

    def write(self, unkeyed_parts: list[int], first_file: int) -> None:
        """Write the results of these rows, as files of a bounded size."""
        held: list[bytes] = []
        size = 0
        for result in self._results(unkeyed_parts):
            if self._put_off(result):
                self._tally.meter.add(result.usage)
                continue
            self._tally.add(result)
            held.append(_encode(result) + b"\n")
            size += len(held[-1])
            if size >= _FILE:
                self._flush(held, first_file)
                held, size = [], 0
        if held:
            self._flush(held, first_file)

    def _put_off(self, result: Result) -> bool:
        """Leave a row to the next attempt, if it may do better there."""
        row = 1 << self._place(result.row)
        if self._last or result.error is None or not (result.error.reason in self._passing or self.cut_off & row):
            return False
        self.again |= row
        return True

    def _place(self, row: int) -> int:
        return row - self._rows.first_row

    def _flush(self, held: list[bytes], first_file: int) -> None:
        name = names.results(self._run, self._index, self._attempt, first_file + len(self.files))
        self._bucket.write(name, b"".join(held))
        self.files.append(ResultFile(name))

    def _results(self, unkeyed_parts: list[int]) -> Iterator[Result]:
        if unkeyed_parts:
            yield from self._joined(unkeyed_parts)
        if self.wanted & ~self._done:
            yield from map(self._unanswered, self._open_lines())

    def _open_lines(self) -> Iterator[RowLine]:
        left = (self.wanted & ~self._done).to_bytes((self._rows.requests + 7) // 8, "little")
        for line in lines(self._bucket, self._run, self._rows):
            byte, bit = divmod(line.row - self._rows.first_row, 8)
            if left[byte] >> bit & 1:
                yield line

    def _joined(self, parts: Iterable[int]) -> Iterator[Result]:
        asked = (self.more.apply(line.data, self._place(line.row)) for line in self._open_lines() if not line.refused)
        waiting = Rows(asked)
        for wanted in ("succeeded", "failed"):
            for unkeyed in self._unkeyed(parts):
                if unkeyed.result.state != wanted:
                    continue
                if found := waiting.take(unkeyed.hash):
                    yield self._with_key(unkeyed, *found)
                else:
                    self._tally.states["unknown"] += 1

    def _unkeyed(self, parts: Iterable[int]) -> Iterator[Unkeyed]:
        for part in parts:
            data = self._bucket.read(names.unkeyed(self._run, self._index, self._attempt, part))
            yield from map(decode_unkeyed, data.split(b"\n")[:-1])

    def _with_key(self, unkeyed: Unkeyed, key: WireKey, metadata: str | None) -> Result:
        self._done |= 1 << (key.row - self._rows.first_row)
        self.cut_off |= unkeyed.cut_off << self._place(key.row)
        return unkeyed.of_row(key, metadata)

    def _unanswered(self, line: RowLine) -> Result:
        wire = _decode_refused(line.data)
        key = split_wire_key(wire.key) or WireKey("", line.row, str(line.row))
        if line.refused:
            error = Error("INVALID_REQUEST", f"row {line.row}: {wire.error}")
        else:
            error = reasons.of_missing(self._ended.job, self._ended.reason)
        metadata = None if wire.metadata is None else msgspec.json.decode(wire.metadata)
        return Result(key=key.key, row=line.row, state="failed", attempt=self._attempt, metadata=metadata, error=error)


class _Refused(msgspec.Struct):
    key: str
    metadata: str | None = None
    error: str = ""


_decode_refused = msgspec.json.Decoder(_Refused).decode
