"""Gives every row of a shard exactly one final state, once all parts are parsed.

A row may be answered in several parts, or in none. The first success counts, else the first failure, in the order of
parts; a row without any gets a failure that says why. Answers that came back without a key are joined by their request.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from promptmill.config import names
from promptmill.producers.requests import WireKey, split_wire_key
from promptmill.producers.results import Error, Result
from promptmill.workers import facts, reasons
from promptmill.workers.correlate import Rows
from promptmill.workers.facts import Counts, Ended, Parsed, Parts, Plan, ResultFile, Settled, ShardPlan
from promptmill.workers.kept import kept_results
from promptmill.workers.ports import Bucket, Job
from promptmill.workers.steps.parse import count
from promptmill.workers.steps.shard import RowLine, lines

_FILE = 8 << 20
_encode = msgspec.json.Encoder().encode


def settle(bucket: Bucket, run: str, index: int, attempt: int) -> Settled:
    """Write down the files that hold one final state for every row of the shard, and what they add up to."""
    folder = names.shard(run, index, attempt)
    if bucket.find(folder + "settled.json") is None:
        facts.put(bucket, folder + "settled.json", _settle(bucket, run, index, attempt))
    return facts.get(bucket, folder + "settled.json", Settled)


class Resolution(NamedTuple):
    """For each part the bitmaps of rows to be passed over (successes, failures), and the rows with any answer."""

    drops: list[tuple[int, int]]
    answered: int


def resolve(parts: list[tuple[int, int]]) -> Resolution:
    """Decide which part answers which row, from each part's bitmaps of succeeded and failed rows."""
    answered = 0
    drop_succeeded = []
    for succeeded, _ in parts:
        drop_succeeded.append(succeeded & answered)
        answered |= succeeded
    drop_failed = []
    for _, failed in parts:
        drop_failed.append(failed & answered)
        answered |= failed
    return Resolution(list(zip(drop_succeeded, drop_failed, strict=True)), answered)


def _settle(bucket: Bucket, run: str, index: int, attempt: int) -> Settled:
    folder = names.shard(run, index, attempt)
    rows = facts.get(bucket, names.plan(run), Plan).shards[index]
    parts = len(facts.get(bucket, folder + "parts.json", Parts).parts)
    parsed = [facts.get(bucket, names.parsed(run, index, attempt, part), Parsed) for part in range(parts)]
    resolution = resolve([(facts.unpack(part.succeeded), facts.unpack(part.failed)) for part in parsed])
    files, counts = [], Counts()
    for part, (one, drops) in enumerate(zip(parsed, resolution.drops, strict=True)):
        file = ResultFile(names.results(run, index, attempt, part), *map(facts.pack, drops))
        files.append(file)
        counts += _recount(bucket, file, rows, one.counts) if any(drops) else one.counts
    rest = _Rest(bucket, run, index, attempt, rows, resolution.answered)
    rest.write([part for part, one in enumerate(parsed) if one.unkeyed], first_file=parts)
    return Settled(files + rest.files, counts + rest.counts(), rows.requests, facts.now())


def _recount(bucket: Bucket, file: ResultFile, rows: ShardPlan, counts: Counts) -> Counts:
    """Count a part anew without the rows that are passed over; those are duplicates now."""
    tally = _Tally()
    for result in kept_results(bucket, file, rows.first_row):
        tally.add(result)
    dropped = counts.succeeded + counts.failed - tally.states["succeeded"] - tally.states["failed"]
    return msgspec.structs.replace(
        tally.counts(), duplicates=counts.duplicates + dropped, unknown=counts.unknown, unreadable=counts.unreadable
    )


class _Tally:
    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        count(result, self.states, self.failures, self.tokens)

    def counts(self) -> Counts:
        return Counts(
            succeeded=self.states["succeeded"],
            failed=self.states["failed"],
            failures=dict(sorted(self.failures.items())),
            tokens=dict(sorted(self.tokens.items())),
            duplicates=self.states["duplicate"],
            unknown=self.states["unknown"],
        )


class _Rest:
    """The rows that no part answers: joined by their request, refused by lint, or missing."""

    def __init__(self, bucket: Bucket, run: str, index: int, attempt: int, rows: ShardPlan, answered: int) -> None:
        self._bucket = bucket
        self._run, self._index, self._attempt = run, index, attempt
        self._rows = rows
        self._answered = answered
        self._tally = _Tally()
        self.files: list[ResultFile] = []

    def counts(self) -> Counts:
        """Return what was counted while writing."""
        return self._tally.counts()

    def write(self, unkeyed_parts: list[int], first_file: int) -> None:
        """Write the results of these rows, as files of a bounded size."""
        held: list[bytes] = []
        size = 0
        for result in self._results(unkeyed_parts):
            self._tally.add(result)
            held.append(_encode(result) + b"\n")
            size += len(held[-1])
            if size >= _FILE:
                self._flush(held, first_file)
                held, size = [], 0
        if held:
            self._flush(held, first_file)

    def _flush(self, held: list[bytes], first_file: int) -> None:
        name = names.results(self._run, self._index, self._attempt, first_file + len(self.files))
        self._bucket.write(name, b"".join(held))
        self.files.append(ResultFile(name))

    def _results(self, unkeyed_parts: list[int]) -> Iterator[Result]:
        if unkeyed_parts:
            yield from self._joined(unkeyed_parts)
        if self._answered != (1 << self._rows.requests) - 1:
            folder = names.shard(self._run, self._index, self._attempt)
            job = facts.get(self._bucket, folder + "ended.json", Ended).job
            yield from (self._unanswered(line, job) for line in self._open_lines())

    def _open_lines(self) -> Iterator[RowLine]:
        for line in lines(self._bucket, self._run, self._rows):
            if not self._answered >> (line.row - self._rows.first_row) & 1:
                yield line

    def _joined(self, parts: Iterable[int]) -> Iterator[Result]:
        waiting = Rows(line.data for line in self._open_lines() if not line.refused)
        for part in parts:
            data = self._bucket.read(names.unkeyed(self._run, self._index, self._attempt, part))
            for line in data.split(b"\n")[:-1]:
                unkeyed = _decode_unkeyed(line)
                if found := waiting.take(unkeyed.hash):
                    key, metadata = found
                    self._answered |= 1 << (key.row - self._rows.first_row)
                    yield msgspec.structs.replace(
                        unkeyed.result,
                        key=key.key,
                        row=key.row,
                        metadata=None if metadata is None else msgspec.json.decode(metadata),
                    )
                else:
                    self._tally.states["unknown"] += 1

    def _unanswered(self, line: RowLine, job: Job) -> Result:
        wire = _decode_refused(line.data)
        key = split_wire_key(wire.key) or WireKey("", line.row, str(line.row))
        error = (
            Error("INVALID_REQUEST", f"row {line.row}: {wire.error}")
            if line.refused
            else reasons.of_missing(job.state, job.error_message)
        )
        metadata = None if wire.metadata is None else msgspec.json.decode(wire.metadata)
        return Result(key=key.key, row=line.row, state="failed", attempt=self._attempt, metadata=metadata, error=error)


class _Unkeyed(msgspec.Struct):
    hash: str
    result: Result


class _Refused(msgspec.Struct):
    key: str
    metadata: str | None = None
    error: str = ""


_decode_unkeyed = msgspec.json.Decoder(_Unkeyed).decode
_decode_refused = msgspec.json.Decoder(_Refused).decode
