"""Hands one file of results to one sink."""

from collections.abc import Callable
from typing import NamedTuple

from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Delivered, ResultFile
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.output.effective_rows import effective_lines
from promptmill.workers.sinks.sink import Sink

OpenSink = Callable[[SinkSpec, str], Sink]
"""Opens a sink for a run."""


class AttemptDeliveries(NamedTuple):
    """How many deliveries an attempt needs, each of its files to each sink, and whether another attempt follows it."""

    deliveries: int
    is_last: bool


def deliver(attempt: AttemptFolder, open_sink: OpenSink, part: int, sink: int) -> AttemptDeliveries:
    """Write the results of one file to a sink, then the fact that they are in it."""
    sinks = attempt.run.manifest.get().sinks
    settled = attempt.settled.get()
    delivered = attempt.delivered(sink, part)
    if not delivered.exists():
        lines = _read_lines(attempt, settled.files[part])
        sink_part = part_name(attempt.shard, attempt.number, part)
        open_sink(sinks[sink], attempt.run.id).deliver(sink_part, lines)
        delivered.create(Delivered(records.current_time()))
    return AttemptDeliveries(len(settled.files) * len(sinks), is_last=not settled.retried)


def _read_lines(attempt: AttemptFolder, file: ResultFile) -> bytes:
    """Read the lines that count; the plan, which may be large, only for dropped rows."""
    first_row = 0
    if file.has_drops:
        first_row = attempt.run.plan.get().shards[attempt.shard].first_row
    return effective_lines(attempt.bucket.read(file.name), file, first_row)


def part_name(shard: int, attempt: int, part: int) -> str:
    """Return what a file of results is called in a sink."""
    return f"{shard:04d}-{attempt}-{part:05d}"
