"""Hands one file of results to one sink."""

from collections.abc import Callable
from typing import NamedTuple

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest, SinkSpec
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Delivered, Plan, ResultFile, Settled
from promptmill.workers.output.effective_rows import kept_lines
from promptmill.workers.ports.google import Bucket
from promptmill.workers.sinks.sink import Sink

OpenSink = Callable[[SinkSpec, str], Sink]
"""Opens a sink for a run."""


class Attempt(NamedTuple):
    """How many deliveries an attempt needs, each of its files to each sink, and whether another attempt follows it."""

    deliveries: int
    is_last: bool


def deliver(bucket: Bucket, open_sink: OpenSink, run: str, index: int, attempt: int, part: int, sink: int) -> Attempt:
    """Write the results that count to the sink, then the fact that they are there."""
    sinks = records.get(bucket, names.manifest(run), Manifest).sinks
    settled = records.get(bucket, names.shard(run, index, attempt) + "settled.json", Settled)
    fact = names.delivered(run, index, attempt, sink, part)
    if bucket.find(fact) is None:
        lines = _lines(bucket, run, index, settled.files[part])
        open_sink(sinks[sink], run).deliver(part_name(index, attempt, part), lines)
        records.put(bucket, fact, Delivered(records.now()))
    return Attempt(len(settled.files) * len(sinks), is_last=not settled.retried)


def _lines(bucket: Bucket, run: str, index: int, file: ResultFile) -> bytes:
    """The lines that count; the plan, which may be large, says which rows are passed over, where there are any."""
    first_row = records.get(bucket, names.plan(run), Plan).shards[index].first_row if file.drops else 0
    return kept_lines(bucket.read(file.name), file, first_row)


def part_name(index: int, attempt: int, part: int) -> str:
    """Return what a file of results is called in a sink."""
    return f"{index:04d}-{attempt}-{part:05d}"
