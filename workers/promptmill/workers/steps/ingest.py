"""Keeps what a producer sent: the run as opened, one chunk, and with the last one the seal."""

from collections.abc import Iterator
from contextlib import contextmanager

from promptmill.config import names
from promptmill.config.errors import MessageRefused
from promptmill.producers.contract.messages import Chunk, Ingest, decode_chunk
from promptmill.workers.facts import records
from promptmill.workers.ports.google import Bucket


def ingest(bucket: Bucket, message: Ingest) -> Chunk:
    """Store the chunk of ``message`` and return it; a chunk that is there already must be the same.

    The marker of an open run is written first and the seal last: whatever a crash leaves behind is found again, and a
    seal means that its sender sent everything. Raises MessageRefused.
    """
    run = message.run.run
    chunk = decode_chunk(message.chunk)
    chunk.decompress_lines()
    with mark_open(bucket, run):
        records.create_fact(bucket, names.manifest(run), message.run)
        if not bucket.create(names.chunk(run, chunk.index), message.chunk):
            _require_equal(chunk, decode_chunk(bucket.read(names.chunk(run, chunk.index))))
        if message.seal is not None:
            records.create_fact(bucket, names.seal(run), message.seal)
    return chunk


@contextmanager
def mark_open(bucket: Bucket, run: str) -> Iterator[None]:
    """Mark a run as open before anything else of it is kept, so that a sweep finds what a crash leaves behind.

    What is kept by a late copy of a message leaves no marker of a run that has ended: nothing would take it away soon.
    """
    is_new = bucket.create(names.open_marker(run), b"")
    yield
    if is_new and _had_ended(bucket, run):
        bucket.delete(names.open_marker(run))


def _had_ended(bucket: Bucket, run: str) -> bool:
    """Whether a run ended before it was marked, by the bucket's clock.

    If it ended since then, while this step took its time, the marker is there for whoever is to be told or called.
    """
    report = bucket.find(names.report(run))
    marker = bucket.find(names.open_marker(run)) if report else None
    return bool(report and marker and report.updated <= marker.updated)


def _require_equal(chunk: Chunk, stored: Chunk) -> None:
    if stored.sha256 != chunk.sha256:
        raise MessageRefused(f"chunk {chunk.index} is stored already, with other content")


def abort_run(
    bucket: Bucket, run: str, reason: str, state: str, *, over_budget: bool = False
) -> None:
    """Write down that a run is not to be submitted, unless it has been divided into shards already.

    An empty plan is what decides: two objects, a plan and a wish to have none, could both come to be.
    """
    records.create_fact(
        bucket,
        names.aborted(run),
        records.Aborted(reason, state, records.current_time(), over_budget),
    )
    records.create_fact(bucket, names.plan(run), records.Plan([], records.current_time()))
