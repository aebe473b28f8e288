"""Deletes what the bucket holds of runs that ended long ago."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from promptmill.config import names
from promptmill.config.settings import Settings
from promptmill.workers.facts import dead_letters
from promptmill.workers.ports.google import Bucket, Stored
from promptmill.workers.services import build

_RUNS = "runs/"
_CLOCK = "gc-clock"


class Old(NamedTuple):
    """A run that was deleted, or would be: when its report was written, by the bucket's clock, and what it takes."""

    run: str
    ended: float
    objects: int
    size: int


def collect(settings: Settings, older_than: float, *, dry_run: bool) -> Iterator[Old]:
    """Delete runs that were reported more than ``older_than`` seconds ago: the entry point of the command line."""
    services = build(settings)
    for old in sweep(services.bucket, older_than, dry_run=dry_run):
        if not dry_run:
            services.index.forget(old.run)
        yield old


def sweep(bucket: Bucket, older_than: float, *, dry_run: bool) -> Iterator[Old]:
    """Delete the folders of old runs; of one that somebody may still need, nothing.

    Those are the open ones, those of which a job was given up and may yet end, and those with a dead letter. The mark by
    which later runs find its answers goes first, the report last: a deletion that breaks off is taken up by the next one.
    """
    now, needed = _now(bucket), _needed(bucket)
    marks = {stored.name.rpartition("/")[2]: stored for stored in bucket.list(names.DONE)}
    for run, stored in groupby(bucket.list(_RUNS), key=lambda one: one.name.split("/")[1]):
        objects, mark = list(stored), marks.pop(run, None)
        ended = _ended(run, objects)
        if ended is None or run in needed or now - ended <= older_than:
            continue
        if not dry_run:
            _delete(bucket, run, objects, mark)
        if not _is_left_over(run, objects):
            yield Old(run, ended, len(objects), sum(one.size for one in objects))
    for mark in marks.values():
        if now - mark.updated > older_than and not dry_run:
            bucket.delete(mark.name)


def _ended(run: str, objects: list[Stored]) -> float | None:
    """Return when a run was reported, or what is left over of one was written; None if it is neither."""
    if _is_left_over(run, objects):
        return max(one.updated for one in objects)
    return next((one.updated for one in objects if one.name == names.report(run)), None)


def _is_left_over(run: str, objects: list[Stored]) -> bool:
    """Whether this was written by a worker that read a run while it was deleted."""
    return all(one.name.startswith(names.all_answered(run)) for one in objects)


def _needed(bucket: Bucket) -> set[str]:
    open_runs = {stored.name.removeprefix(names.OPEN) for stored in bucket.list(names.OPEN)}
    given_up = {stored.name.removeprefix(names.GIVEN_UP).split("/")[0] for stored in bucket.list(names.GIVEN_UP)}
    return open_runs | given_up | {step.partition(".")[0] for step in dead_letters.steps(bucket)}


def _delete(bucket: Bucket, run: str, objects: list[Stored], mark: Stored | None) -> None:
    first, last = [mark.name] if mark else [], [names.manifest(run), names.report(run)]
    for name in first + [one.name for one in objects if one.name not in last] + last:
        bucket.delete(name)


def _now(bucket: Bucket) -> float:
    """Return the time by the bucket's clock: that of this machine may be wrong by any amount."""
    bucket.write(_CLOCK, b"")
    clock = bucket.find(_CLOCK)
    bucket.delete(_CLOCK)
    return clock.updated if clock else 0.0
