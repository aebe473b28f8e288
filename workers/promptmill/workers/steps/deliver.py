"""Hands one file of results to one sink."""

from collections.abc import Callable
from typing import NamedTuple

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest, SinkSpec
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Delivered, Plan, ResultFile, Settled
from promptmill.workers.output.effective_rows import effective_lines
from promptmill.workers.ports.google import Bucket
from promptmill.workers.sinks.sink import Sink

OpenSink = Callable[[SinkSpec, str], Sink]
"""Opens a sink for a run."""


class AttemptDeliveries(NamedTuple):
    """How many deliveries an attempt needs, each of its files to each sink, and whether another attempt follows it."""

    deliveries: int
    is_last: bool


def deliver(
    bucket: Bucket, open_sink: OpenSink, run: str, shard: int, attempt: int, part: int, sink: int
) -> AttemptDeliveries:
    """Write the results that count to the sink, then the fact that they are there."""
    sinks = records.get_fact(bucket, names.manifest(run), Manifest).sinks
    settled = records.get_fact(bucket, names.shard(run, shard, attempt) + "settled.json", Settled)
    fact_name = names.delivered(run, shard, attempt, sink, part)
    if bucket.find(fact_name) is None:
        lines = _read_lines(bucket, run, shard, settled.files[part])
        open_sink(sinks[sink], run).deliver(part_name(shard, attempt, part), lines)
        records.create_fact(bucket, fact_name, Delivered(records.current_time()))
    return AttemptDeliveries(len(settled.files) * len(sinks), is_last=not settled.retried)


def _read_lines(bucket: Bucket, run: str, shard: int, file: ResultFile) -> bytes:
    """The lines that count; the plan, which may be large, says which rows are passed over, where there are any."""
    first_row = (
        records.get_fact(bucket, names.plan(run), Plan).shards[shard].first_row
        if file.has_drops
        else 0
    )
    return effective_lines(bucket.read(file.name), file, first_row)


def part_name(shard: int, attempt: int, part: int) -> str:
    """Return what a file of results is called in a sink."""
    return f"{shard:04d}-{attempt}-{part:05d}"
