"""Reads the results and the report of a run from the bucket, for producers."""

from collections.abc import Iterator, Sequence
from itertools import tee

from promptmill.config.settings import Settings
from promptmill.producers.contract.kept_parts import normalize_keep
from promptmill.workers.cli_support.kept_results import kept_lines, settled_files
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.output.effective_rows import effective_lines
from promptmill.workers.ports.google import Bucket
from promptmill.workers.services import build_services


def read_results(settings: Settings, run: str, keep: Sequence[str] = ()) -> Iterator[bytes]:
    """Yield the results of all settled shards, as lines of JSON without newlines.

    ``keep`` names parts of Google's answers to add; see ``kept_results``.
    """
    bucket = build_services(settings).bucket
    if keep:
        run_snapshot = snapshot.load_snapshot(bucket, run)
        return kept_lines(RunFolder(bucket, run), run_snapshot, normalize_keep(keep))
    return result_lines(bucket, run)


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
    run_snapshot = snapshot.load_snapshot(bucket, run)
    files_to_read, files = tee(settled_files(RunFolder(bucket, run), run_snapshot))
    for (_, file, first_row), data in zip(
        files, bucket.read_each(file.name for _, file, _ in files_to_read), strict=True
    ):
        yield from effective_lines(data, file, first_row).split(b"\n")[:-1]
