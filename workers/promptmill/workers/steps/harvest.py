"""Keeps the answers of a job that was given up and ended after all: they are paid for."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Result
from promptmill.workers.attempts import adjustments, deduplication
from promptmill.workers.attempts.deduplication import Answers
from promptmill.workers.attempts.retryable import Chances
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Harvested, PartRange, Plan, Settled, ShardPlan
from promptmill.workers.facts.request_lines import lines as rows_of
from promptmill.workers.facts.step import Wait
from promptmill.workers.output import schema_validation
from promptmill.workers.output.effective_rows import kept_results
from promptmill.workers.output.line_ranges import lines
from promptmill.workers.output.unkeyed import Rows, decode_unkeyed
from promptmill.workers.ports.google import Bucket
from promptmill.workers.steps.collect import output
from promptmill.workers.steps.parse import PartReader
from promptmill.workers.steps.shard import wanted_rows

_AT_ONCE = 2000
"""Results of copies in one file."""
_decode = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode


def harvest(bucket: Bucket, run: str, index: int, attempt: int, part_bytes: int) -> Harvested | Wait:
    """Write the late answers of an attempt that is settled into the run's folder ``late``, and say how many there are.

    They are those of rows that the attempt has no answer for. Results, sinks and report of the run stay as they are.
    """
    folder = names.shard(run, index, attempt)
    if bucket.find(folder + "harvested.json") is None:
        pieces = output(bucket, folder, "late.json", part_bytes)
        if isinstance(pieces, Wait):
            return pieces
        answers = _Harvest(bucket, _Place(run, index, attempt), pieces).write()
        records.put(bucket, folder + "harvested.json", Harvested(answers, records.now()))
    bucket.delete(names.given_up(run, index, attempt))
    return records.get(bucket, folder + "harvested.json", Harvested)


class _Place(NamedTuple):
    run: str
    shard: int
    attempt: int


class _Harvest:
    """The late answers of one attempt, part by part: first those with keys, then those that are known by their request."""

    def __init__(self, bucket: Bucket, place: _Place, pieces: list[PartRange]) -> None:
        self._bucket, self._place, self._pieces = bucket, place, pieces
        manifest = records.get(bucket, names.manifest(place.run), Manifest)
        plan = records.get(bucket, names.plan(place.run), Plan)
        self._rows = plan.shards[place.shard]
        answered = _answered(bucket, place, self._rows)
        self._copies = deduplication.load(bucket, *place, plan).without(answered)
        self._wanted = (
            wanted_rows(bucket, manifest, place.shard, place.attempt, self._rows) & ~answered & ~self._copies.rows
        )
        self._with_unkeyed: list[int] = []
        self._judging = Chances(judge=schema_validation.judge(manifest))

    def write(self) -> int:
        """Write files that are the same however often they are written; returns how many answers are in them."""
        answers = sum(self._write(part, self._keyed(part)) for part in range(len(self._pieces)))
        if self._with_unkeyed:
            waiting = Rows(self._asked())
            joined = (self._write(len(self._pieces) + part, self._joined(part, waiting)) for part in self._with_unkeyed)
            answers += sum(joined)
        return answers + self._write_copies()

    def _write_copies(self) -> int:
        """Write the answers of the rows that have another's, read from the late ones that are written."""
        if not self._copies:
            return 0
        written = [*range(len(self._pieces)), *(len(self._pieces) + part for part in self._with_unkeyed)]
        with Answers(self._copies, self._rows.first_row) as answers:
            for part in written:
                late = self._bucket.read(names.late(*self._place, part))
                answers.keep(map(_decode, late.split(b"\n")[:-1]))
            of_copies = answers.of(rows_of(self._bucket, self._place.run, self._rows))
            number = 2 * len(self._pieces)
            return sum(self._write(number + part, batch) for part, batch in enumerate(_batches(of_copies)))

    def _write(self, part: int, results: Iterable[Result]) -> int:
        encoded = [_encode(result) + b"\n" for result in results]
        self._bucket.write(names.late(*self._place, part), b"".join(encoded))
        return len(encoded)

    def _reader(self) -> PartReader:
        tag = names.tag(self._place.run)
        place, rows = self._place, self._rows
        return PartReader(tag, rows.first_row, rows.requests, place.attempt, self._wanted, self._judging)

    def _keyed(self, part: int) -> Iterator[Result]:
        reader = self._reader()
        for line in reader.results(lines(self._bucket, self._pieces[part])):
            if (result := _decode(line)).succeeded:
                yield result
        self._wanted &= ~records.unpack(reader.parsed().succeeded)
        if reader.unkeyed:
            self._with_unkeyed.append(part)

    def _asked(self) -> Iterator[bytes]:
        """The wire lines of the rows that have no answer yet, as the attempt asked them."""
        mended = adjustments.load(self._bucket, *self._place)
        for line in rows_of(self._bucket, self._place.run, self._rows):
            place = line.row - self._rows.first_row
            if self._wanted >> place & 1 and not line.refused:
                yield mended.apply(line.data, place)

    def _joined(self, part: int, waiting: Rows) -> Iterator[Result]:
        reader = self._reader()
        for _ in reader.results(lines(self._bucket, self._pieces[part])):
            pass  # those with keys are written
        for unkeyed in map(decode_unkeyed, reader.unkeyed):
            if unkeyed.result.succeeded and (found := waiting.take(unkeyed.hash)):
                yield unkeyed.of_row(*found)


def _batches(results: Iterator[Result]) -> Iterator[list[Result]]:
    while batch := list(islice(results, _AT_ONCE)):
        yield batch


def _answered(bucket: Bucket, place: _Place, rows: ShardPlan) -> int:
    """The rows of the shard that the attempt has an answer for, as a bitmap."""
    answered = 0
    for file in records.get(bucket, names.shard(*place) + "settled.json", Settled).files:
        for result in kept_results(bucket, file, rows.first_row):
            answered |= result.succeeded << (result.row - rows.first_row)
    return answered
