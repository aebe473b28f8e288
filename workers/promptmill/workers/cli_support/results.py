"""Reads a run's results and report from the bucket, for producers that can reach it."""

from collections.abc import Iterator
from itertools import tee

from promptmill.config import names
from promptmill.config.settings import Settings
from promptmill.workers.facts import records, snapshot
from promptmill.workers.facts.records import ResultFile, Settled
from promptmill.workers.facts.snapshot import RunFacts
from promptmill.workers.output.effective_rows import kept_lines
from promptmill.workers.ports.google import Bucket
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
    for data in bucket.read_each(stored.name for stored in bucket.list(names.late_folder(run))):
        yield from data.split(b"\n")[:-1]


def lines(bucket: Bucket, run: str) -> Iterator[bytes]:
    """Yield the results of a run, in the order of its shards."""
    ahead, turn = tee(_files(bucket, snapshot.load(bucket, run)))
    for (file, first_row), data in zip(turn, bucket.read_each(file.name for file, _ in ahead), strict=True):
        yield from kept_lines(data, file, first_row).split(b"\n")[:-1]


def _files(bucket: Bucket, known: RunFacts) -> Iterator[tuple[ResultFile, int]]:
    """Yield the files of results of all attempts that are settled, and the first row of the shard of each."""
    shards = known.plan.shards if known.plan else []
    places = [place for place, shard in sorted(known.shards.items()) if shards and shard.files is not None]
    wanted = ((names.shard(known.run, *place) + "settled.json", Settled) for place in places)
    for (index, _), settled in zip(places, records.get_each(bucket, wanted), strict=True):
        for file in settled.files:
            yield file, shards[index].first_row
