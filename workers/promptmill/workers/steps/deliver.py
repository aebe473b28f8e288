"""Delivers one file of results to one sink."""

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
    """The number of deliveries of an attempt: each file goes to each sink.

    ``is_last`` is true if no attempt follows.
    """

    deliveries: int
    is_last: bool


def deliver(attempt: AttemptFolder, open_sink: OpenSink, part: int, sink: int) -> AttemptDeliveries:
    """Write the results of one file to a sink, then record the delivery."""
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
    """Read the lines that count. The plan may be large, so it is read only if rows drop out."""
    first_row = attempt.run.plan.get().shards[attempt.shard].first_row if file.has_drops else 0
    return effective_lines(attempt.bucket.read(file.name), file, first_row)


def part_name(shard: int, attempt: int, part: int) -> str:
    """Return the name of a file of results in a sink."""
    return f"{shard:04d}-{attempt}-{part:05d}"
