"""Reads the results and the report of a run from the bucket, for producers."""

from collections.abc import Iterator
from itertools import tee

from promptmill.config.settings import Settings
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.fact import read_facts
from promptmill.workers.facts.records import ResultFile
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.output.effective_rows import effective_lines
from promptmill.workers.ports.google import Bucket
from promptmill.workers.services import build_services


def read_results(settings: Settings, run: str) -> Iterator[bytes]:
    """Yield the results of all settled shards, as lines of JSON without newlines."""
    return result_lines(build_services(settings).bucket, run)


def read_report(settings: Settings, run: str) -> bytes:
    """Return the final report as JSON; raises NotFound if the run is not done."""
    folder = build_services(settings).run_folder(run)
    return folder.bucket.read(folder.report.name)


def read_late_results(settings: Settings, run: str) -> Iterator[bytes]:
    """Yield the late answers of a run's abandoned jobs, in the form of ``read_results``."""
    folder = build_services(settings).run_folder(run)
    bucket = folder.bucket
    for data in bucket.read_each(stored.name for stored in bucket.list(folder.late_folder)):
        yield from data.split(b"\n")[:-1]


def result_lines(bucket: Bucket, run: str) -> Iterator[bytes]:
    """Yield the results of a run by shard, as lines of JSON without newlines."""
    files_to_read, files = tee(_result_files(bucket, snapshot.load_snapshot(bucket, run)))
    for (file, first_row), data in zip(
        files, bucket.read_each(file.name for file, _ in files_to_read), strict=True
    ):
        yield from effective_lines(data, file, first_row).split(b"\n")[:-1]


def _result_files(bucket: Bucket, snapshot: RunSnapshot) -> Iterator[tuple[ResultFile, int]]:
    """Yield each result file of the settled attempts, with the first row of its shard."""
    shards = snapshot.plan.shards if snapshot.plan else []
    run = RunFolder(bucket, snapshot.run)
    attempts = [
        run.attempt(*attempt_ref)
        for attempt_ref, attempt_facts in sorted(snapshot.attempts.items())
        if shards and attempt_facts.files is not None
    ]
    settled_facts = read_facts(bucket, (attempt.settled for attempt in attempts))
    for attempt, settled in zip(attempts, settled_facts, strict=True):
        for file in settled.files:
            yield file, shards[attempt.shard].first_row
