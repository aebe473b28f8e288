"""Hands one file of results to one sink."""

from collections.abc import Callable

from promptmill.config import names
from promptmill.producers.messages import Manifest, SinkSpec
from promptmill.workers import facts
from promptmill.workers.facts import Delivered, Plan, Settled
from promptmill.workers.kept import kept_lines
from promptmill.workers.ports import Bucket
from promptmill.workers.sinks.sink import Sink

OpenSink = Callable[[SinkSpec, str], Sink]
"""Opens a sink for a run."""


def deliver(bucket: Bucket, open_sink: OpenSink, run: str, index: int, attempt: int, part: int, sink: int) -> None:
    """Write the results that count to the sink, then the fact that they are there."""
    fact = names.delivered(run, index, attempt, sink, part)
    if bucket.find(fact) is not None:
        return
    spec = facts.get(bucket, names.manifest(run), Manifest).sinks[sink]
    rows = facts.get(bucket, names.plan(run), Plan).shards[index]
    settled = facts.get(bucket, names.shard(run, index, attempt) + "settled.json", Settled)
    lines = kept_lines(bucket, settled.files[part], rows.first_row)
    open_sink(spec, run).deliver(part_name(index, attempt, part), lines)
    facts.put(bucket, fact, Delivered(facts.now()))


def places(bucket: Bucket, run: str, index: int, attempt: int) -> int:
    """Return how many deliveries a shard needs: each of its files to each sink."""
    settled = facts.get(bucket, names.shard(run, index, attempt) + "settled.json", Settled)
    return len(settled.files) * len(facts.get(bucket, names.manifest(run), Manifest).sinks)


def part_name(index: int, attempt: int, part: int) -> str:
    """Return what a file of results is called in a sink."""
    return f"{index:04d}-{attempt}-{part:05d}"
