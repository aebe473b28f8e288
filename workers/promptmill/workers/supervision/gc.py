"""Deletes what the bucket holds of runs that ended long ago."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from promptmill.config import names
from promptmill.config.settings import Settings
from promptmill.workers.facts import dead_letters
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import Bucket, ObjectInfo
from promptmill.workers.services import build_services

_RUNS = "runs/"
_CLOCK = "gc-clock"


class DeletedRun(NamedTuple):
    """A run that was deleted, or would be: when its report was written, by the bucket's clock, and what it takes."""

    run: str
    ended: float
    objects: int
    size: int


def collect_garbage(
    settings: Settings, older_than: float, *, dry_run: bool
) -> Iterator[DeletedRun]:
    """Delete runs that were reported more than ``older_than`` seconds ago: the entry point of the command line."""
    services = build_services(settings)
    for deleted in delete_old_runs(services.bucket, older_than, dry_run=dry_run):
        if not dry_run:
            services.index.delete_run(deleted.run)
        yield deleted


def delete_old_runs(bucket: Bucket, older_than: float, *, dry_run: bool) -> Iterator[DeletedRun]:
    """Delete the folders of old runs; of one that somebody may still need, nothing.

    Those are the open ones, those of which a job was given up and may yet end, and those with a dead letter. The mark by
    which later runs find its answers goes first, the report last: a deletion that breaks off is taken up by the next one.
    """
    now, needed = _bucket_time(bucket), _needed_runs(bucket)
    done_markers = {stored.name.rpartition("/")[2]: stored for stored in bucket.list(names.DONE)}
    for run, stored in groupby(bucket.list(_RUNS), key=lambda one: one.name.split("/")[1]):
        folder, objects = RunFolder(bucket, run), list(stored)
        done_marker = done_markers.pop(run, None)
        ended = _end_time(folder, objects)
        if ended is None or run in needed or now - ended <= older_than:
            continue
        if not dry_run:
            _delete_run(folder, objects, done_marker)
        if not _is_left_over(folder, objects):
            yield DeletedRun(
                run, ended, len(objects), sum(stored_object.size for stored_object in objects)
            )
    for done_marker in done_markers.values():
        if now - done_marker.updated > older_than and not dry_run:
            bucket.delete(done_marker.name)


def _end_time(run: RunFolder, objects: list[ObjectInfo]) -> float | None:
    """Return when a run was reported, or what is left over of one was written; None if it is neither."""
    if _is_left_over(run, objects):
        return max(stored_object.updated for stored_object in objects)
    return next((one.updated for one in objects if one.name == run.report.name), None)


def _is_left_over(run: RunFolder, objects: list[ObjectInfo]) -> bool:
    """Whether this was written by a worker that read a run while it was deleted."""
    return all(stored_object.name.startswith(run.answered_folder) for stored_object in objects)


def _needed_runs(bucket: Bucket) -> set[str]:
    open_runs = {stored.name.removeprefix(names.OPEN) for stored in bucket.list(names.OPEN)}
    given_up = {
        stored.name.removeprefix(names.ABANDONED_JOBS).split("/")[0]
        for stored in bucket.list(names.ABANDONED_JOBS)
    }
    return (
        open_runs
        | given_up
        | {step.partition(".")[0] for step in dead_letters.parked_steps(bucket)}
    )


def _delete_run(run: RunFolder, objects: list[ObjectInfo], done_marker: ObjectInfo | None) -> None:
    first, last = (
        [done_marker.name] if done_marker else [],
        [run.manifest.name, run.report.name],
    )
    for name in (
        first
        + [stored_object.name for stored_object in objects if stored_object.name not in last]
        + last
    ):
        run.bucket.delete(name)


def _bucket_time(bucket: Bucket) -> float:
    """Return the time by the bucket's clock: that of this machine may be wrong by any amount."""
    bucket.write(_CLOCK, b"")
    clock = bucket.find(_CLOCK)
    bucket.delete(_CLOCK)
    return clock.updated if clock else 0.0
