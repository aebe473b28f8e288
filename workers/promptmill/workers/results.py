"""Reads a run's results and report from the bucket, for producers that can reach it."""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.config.settings import Settings
from promptmill.workers import facts, run_facts
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


def late(settings: Settings, run: str) -> Iterator[bytes]:
    """Yield the answers of jobs of a run that were given up and ended after all, in the same form."""
    bucket = build(settings).bucket
    for stored in bucket.list(names.late_folder(run)):
        yield from bucket.read(stored.name).split(b"\n")[:-1]


def lines(bucket: Bucket, run: str) -> Iterator[bytes]:
    """Yield the results of a run, one file of each shard at a time."""
    known = run_facts.load(bucket, run)
    for (index, attempt), shard in sorted(known.shards.items()):
        if known.plan is None or shard.files is None:
            continue
        first_row = known.plan.shards[index].first_row
        settled = facts.get(bucket, names.shard(run, index, attempt) + "settled.json", Settled)
        for file in settled.files:
            yield from kept_lines(bucket, file, first_row).split(b"\n")[:-1]
