"""Deletes the objects of runs that ended long ago from the bucket."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from promptmill.config import names
from promptmill.config.settings import Settings
from promptmill.workers.facts import dead_letters, records
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import Bucket, ObjectInfo
from promptmill.workers.services import Services, build_services

_RUNS = "runs/"
_CLOCK = "gc-clock"


class OldRun(NamedTuple):
    """A run that is old enough to delete.

    ``ended``: when its report was written, by the bucket's clock. ``size``: bytes in the bucket.
    """

    run: str
    ended: float
    objects: int
    size: int


class Deletion(NamedTuple):
    """Objects to delete, in order. ``old_run`` is None for the remains of a deleted run."""

    object_names: list[str]
    old_run: OldRun | None = None


def collect_garbage(settings: Settings, older_than: float, *, dry_run: bool) -> Iterator[OldRun]:
    """Delete old runs and yield them. With ``dry_run``, only yield them.

    The entry point of the command line; ``older_than`` in seconds.
    """
    services = build_services(settings)
    if dry_run:
        return find_old_runs(services.bucket, older_than)
    return _delete_with_status(services, older_than)


def find_old_runs(bucket: Bucket, older_than: float) -> Iterator[OldRun]:
    """Yield the runs that were reported more than ``older_than`` seconds ago and may go."""
    return (
        deletion.old_run for deletion in _plan_deletions(bucket, older_than) if deletion.old_run
    )


def delete_old_runs(bucket: Bucket, older_than: float) -> Iterator[OldRun]:
    """Delete those runs from the bucket, and yield each once it is deleted."""
    for deletion in _plan_deletions(bucket, older_than):
        for name in deletion.object_names:
            bucket.delete(name)
        if deletion.old_run:
            yield deletion.old_run


def _delete_with_status(services: Services, older_than: float) -> Iterator[OldRun]:
    for old_run in delete_old_runs(services.bucket, older_than):
        services.index.delete_run(old_run.run)
        yield old_run


def _plan_deletions(bucket: Bucket, older_than: float) -> Iterator[Deletion]:
    """Yield what to delete of each old run, and markers of runs that are gone."""
    now, needed = _read_clock(bucket), _needed_runs(bucket)
    done_markers = {stored.name.rpartition("/")[2]: stored for stored in bucket.list(names.DONE)}
    for run, stored in groupby(bucket.list(_RUNS), key=lambda info: info.name.split("/")[1]):
        folder, objects = RunFolder(bucket, run), list(stored)
        done_marker = done_markers.pop(run, None)
        ended = _end_time(folder, objects)
        if ended is not None and run not in needed and now - ended > older_than:
            yield _plan_deletion(folder, ended, objects, done_marker)
    for done_marker in done_markers.values():
        if now - done_marker.updated > older_than:
            yield Deletion([done_marker.name])


def _plan_deletion(
    run: RunFolder, ended: float, objects: list[ObjectInfo], done_marker: ObjectInfo | None
) -> Deletion:
    """Order the deletion so that it can be resumed after an interruption.

    The marker by which later runs find the answers is first, the report is last.
    """
    first = [done_marker.name] if done_marker else []
    last = [run.manifest.name, run.report.name]
    rest = [info.name for info in objects if info.name not in last]
    if _is_remainder(run, objects):
        return Deletion(first + rest)
    size = sum(info.size for info in objects)
    return Deletion(first + rest + last, OldRun(run.id, ended, len(objects), size))


def _end_time(run: RunFolder, objects: list[ObjectInfo]) -> float | None:
    """Return when a run was reported, or when its remains were written. None for others."""
    if _is_remainder(run, objects):
        return max(info.updated for info in objects)
    return next((info.updated for info in objects if info.name == run.report.name), None)


def _is_remainder(run: RunFolder, objects: list[ObjectInfo]) -> bool:
    """Whether these objects were written by a worker that read the run during its deletion."""
    return all(info.name.startswith(run.answered_folder) for info in objects)


def _needed_runs(bucket: Bucket) -> set[str]:
    """Return open runs, and runs with a dead letter or an abandoned job that may still end."""
    open_runs = {stored.name.removeprefix(names.OPEN) for stored in bucket.list(names.OPEN)}
    with_abandoned_job = {
        stored.name.removeprefix(names.ABANDONED_JOBS).split("/")[0]
        for stored in bucket.list(names.ABANDONED_JOBS)
    }
    with_dead_letter = {step.partition(".")[0] for step in dead_letters.parked_steps(bucket)}
    return open_runs | with_abandoned_job | with_dead_letter


def _read_clock(bucket: Bucket) -> float:
    """Return the time by the bucket's clock, as this machine's may be wrong."""
    now = records.read_clock(bucket, _CLOCK)
    bucket.delete(_CLOCK)
    return now
