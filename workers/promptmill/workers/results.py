"""Reads a run's results and report from the bucket, for producers that can reach it."""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.config.settings import Settings
from promptmill.workers import facts
from promptmill.workers.facts import Settled
from promptmill.workers.kept import kept_lines
from promptmill.workers.ports import Bucket
from promptmill.workers.services import build


def read(settings: Settings, run: str) -> Iterator[bytes]:
    """Yield the results of all shards that are settled, as lines of JSON without their newlines."""
    return lines(build(settings).bucket, run)


def report(settings: Settings, run: str) -> bytes:
    """Return the final report as JSON; raises NotFound while the run is not done."""
    return build(settings).bucket.read(names.report(run))


def lines(bucket: Bucket, run: str) -> Iterator[bytes]:
    """Yield the results of a run, one file of each shard at a time."""
    known = facts.load(bucket, run)
    for index, rows in enumerate(known.plan.shards if known.plan else []):
        shard = known.shards.get(index)
        if shard is None or shard.files is None:
            continue
        settled = facts.get(bucket, names.shard(run, index, shard.attempt) + "settled.json", Settled)
        for file in settled.files:
            yield from kept_lines(bucket, file, rows.first_row).split(b"\n")[:-1]
