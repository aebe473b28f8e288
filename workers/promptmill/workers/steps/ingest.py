"""Stores what a producer sent: the manifest, one chunk, and with the last one the seal.

The open marker is written first, so that a sweep finds what a crash leaves behind. The seal is
written last: it means that the producer sent everything.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from promptmill.config.errors import MessageRefused
from promptmill.producers.contract.messages import Chunk, Ingest, decode_chunk
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Aborted, Plan
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import Bucket


def ingest(bucket: Bucket, message: Ingest) -> Chunk:
    """Store the chunk of ``message``. Raises MessageRefused if it exists with other content."""
    run = RunFolder(bucket, message.run.run)
    chunk = decode_chunk(message.chunk)
    chunk.decompress_lines()
    with mark_open(run):
        run.manifest.create(message.run)
        if not bucket.create(run.chunk(chunk.index), message.chunk):
            _require_equal(chunk, decode_chunk(bucket.read(run.chunk(chunk.index))))
        if message.seal is not None:
            run.seal.create(message.seal)
    return chunk


@contextmanager
def mark_open(run: RunFolder) -> Iterator[None]:
    """Mark a run as open before any other object of it is stored, so that sweeps find it.

    The marker is deleted again if the run has ended: a late duplicate delivery must not
    reopen it.
    """
    is_new = run.bucket.create(run.open_marker, b"")
    yield
    if is_new and _had_ended(run):
        run.bucket.delete(run.open_marker)


# If the run ended later, while this step ran, its marker is still needed to notify the caller
# and send callbacks.
def _had_ended(run: RunFolder) -> bool:
    """Return whether a run ended before it was marked, by the bucket's clock."""
    report = run.report.find_object()
    marker = run.bucket.find(run.open_marker) if report else None
    return bool(report and marker and report.updated <= marker.updated)


def _require_equal(chunk: Chunk, stored: Chunk) -> None:
    if stored.sha256 != chunk.sha256:
        raise MessageRefused(
            f"chunk {chunk.index} already exists with other content; send it as a new run"
        )


def abort_run(run: RunFolder, reason: str, state: str, *, over_budget: bool = False) -> None:
    """Record that a run is never submitted, unless its plan already has shards."""
    run.aborted.create(Aborted(reason, state, records.current_time(), over_budget))
    # An empty plan decides: a plan and an abort are separate objects and could both exist.
    run.plan.create(Plan([], records.current_time()))
