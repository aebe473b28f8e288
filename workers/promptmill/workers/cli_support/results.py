"""Reads a run's results and report from the bucket, for producers that can reach it."""

from collections.abc import Iterator
from itertools import tee

from promptmill.config import names
from promptmill.config.settings import Settings
from promptmill.workers.facts import records, snapshot
from promptmill.workers.facts.records import ResultFile, Settled
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.output.effective_rows import effective_lines
from promptmill.workers.ports.google import Bucket
from promptmill.workers.services import build_services


def read_results(settings: Settings, run: str) -> Iterator[bytes]:
    """Yield the results of all shards that are settled, as lines of JSON without their newlines."""
    return result_lines(build_services(settings).bucket, run)


def read_report(settings: Settings, run: str) -> bytes:
    """Return the final report as JSON; raises NotFound while the run is not done."""
    return build_services(settings).bucket.read(names.report(run))


def read_late_results(settings: Settings, run: str) -> Iterator[bytes]:
    """Yield the answers of jobs of a run that were given up and ended after all, in the same form."""
    bucket = build_services(settings).bucket
    for data in bucket.read_each(stored.name for stored in bucket.list(names.late_folder(run))):
        yield from data.split(b"\n")[:-1]


def result_lines(bucket: Bucket, run: str) -> Iterator[bytes]:
    """Yield the results of a run, in the order of its shards."""
    files_to_read, files = tee(_result_files(bucket, snapshot.load_snapshot(bucket, run)))
    for (file, first_row), data in zip(
        files, bucket.read_each(file.name for file, _ in files_to_read), strict=True
    ):
        yield from effective_lines(data, file, first_row).split(b"\n")[:-1]


def _result_files(bucket: Bucket, snapshot: RunSnapshot) -> Iterator[tuple[ResultFile, int]]:
    """Yield the files of results of all attempts that are settled, and the first row of the shard of each."""
    shards = snapshot.plan.shards if snapshot.plan else []
    attempt_refs = [
        attempt_ref
        for attempt_ref, attempt_facts in sorted(snapshot.attempts.items())
        if shards and attempt_facts.files is not None
    ]
    settled_facts = (
        (names.shard(snapshot.run, *place) + "settled.json", Settled) for place in attempt_refs
    )
    for (shard_number, _), settled in zip(
        attempt_refs, records.get_facts(bucket, settled_facts), strict=True
    ):
        for file in settled.files:
            yield file, shards[shard_number].first_row
