"""Keeps the answers of a job that was given up and ended after all: they are paid for."""

from collections.abc import Iterator
from functools import reduce
from operator import or_

import msgspec

from promptmill.config import names
from promptmill.workers import facts
from promptmill.workers.facts import Harvested, Parsed, PartRange, Plan
from promptmill.workers.ports import Bucket
from promptmill.workers.steps import parse
from promptmill.workers.steps.collect import output
from promptmill.workers.steps.shard import wanted_rows
from promptmill.workers.steps.step import Wait


def harvest(bucket: Bucket, run: str, index: int, attempt: int, part_bytes: int) -> Harvested | Wait:
    """Write the late answers of an attempt that is settled into the run's folder ``late``, and say how many there are.

    They are those of rows that the attempt has no answer for. Results, sinks and report of the run stay as they are.
    """
    folder = names.shard(run, index, attempt)
    if bucket.find(folder + "harvested.json") is None:
        pieces = output(bucket, folder, "late.json", part_bytes)
        if isinstance(pieces, Wait):
            return pieces
        answers = sum(_write(bucket, run, index, attempt, pieces))
        facts.put(bucket, folder + "harvested.json", Harvested(answers, facts.now()))
    bucket.delete(names.given_up(run, index, attempt))
    return facts.get(bucket, folder + "harvested.json", Harvested)


def _write(bucket: Bucket, run: str, index: int, attempt: int, pieces: list[PartRange]) -> Iterator[int]:
    """Write the late answers of each part, the same bytes every time; yields how many there are."""
    rows = facts.get(bucket, names.plan(run), Plan).shards[index]
    wanted = wanted_rows(bucket, run, index, attempt, rows) & ~_answered(bucket, run, index, attempt)
    for part, piece in enumerate(pieces):
        reader = parse.PartReader(names.tag(run), rows.first_row, rows.requests, attempt, wanted)
        results = [line for line in reader.results(parse.lines(bucket, piece)) if _decode(line).state == "succeeded"]
        bucket.write(names.late(run, index, attempt, part), b"".join(results))
        wanted &= ~facts.unpack(reader.parsed().succeeded)
        yield len(results)


def _answered(bucket: Bucket, run: str, index: int, attempt: int) -> int:
    parts = range(parse.parts(bucket, run, index, attempt))
    parsed = (facts.get(bucket, names.parsed(run, index, attempt, part), Parsed) for part in parts)
    return reduce(or_, (facts.unpack(one.succeeded) for one in parsed), 0)


class _State(msgspec.Struct):
    state: str


_decode = msgspec.json.Decoder(_State).decode
