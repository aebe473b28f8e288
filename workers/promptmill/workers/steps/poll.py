"""Looks at all open jobs at once, with one list call, and says when to look again."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from promptmill.config.errors import NotFound, Permanent, Transient
from promptmill.workers.ports.google import ENDED, BatchJobs, Job

_GROWTH = 0.02
"""A look costs one call whatever the number of jobs, so the interval only follows the age of the youngest job: at 2 % of
it, detection is late by 1 % of a job's duration on average."""
_FAILURES = 3
"""Calls of one look that may fail before it ends with what it saw: while Vertex is away, each takes its whole timeout."""


class Look(NamedTuple):
    """The jobs that ended, those that did not, those that Vertex does not know, and why others could not be looked at."""

    ended: list[Job]
    waiting: list[Job]
    lost: list[str]
    unseen: dict[str, str]


def look(jobs: BatchJobs, mill: str, open_jobs: Iterable[str]) -> Look:
    """Look at the ``open_jobs`` of a mill: one list of those still active, then each that is not on it by itself.

    Of many jobs that end at once, one that cannot be looked at does not keep the others back.
    """
    wanted = set(open_jobs)
    listed = {job.name: job for job in jobs.list(active(mill)) if job.name in wanted}
    lost: list[str] = []
    unseen: dict[str, str] = {}
    for name in sorted(wanted - listed.keys()):
        try:
            listed[name] = jobs.get(name)
        except NotFound:
            lost.append(name)
        except (Transient, Permanent) as error:
            unseen[name] = str(error)
            if len(unseen) == _FAILURES:
                break
    return Look(
        ended=[job for job in listed.values() if job.ended],
        waiting=[job for job in listed.values() if not job.ended],
        lost=lost,
        unseen=unseen,
    )


def find(jobs: BatchJobs, name: str, display_name: str, labels: Mapping[str, str]) -> Job | None:
    """Look in Vertex's list for a job that it does not know by its name: by its labels, and by its display name."""
    found = (job for query in of_attempt(display_name, labels) for job in jobs.list(query))
    return next((job for job in found if job.name == name), None)


def of_attempt(display_name: str, labels: Mapping[str, str]) -> Iterator[str]:
    """Yield Google's filters for the jobs of one attempt: by their labels, and by their display name."""
    yield " AND ".join(f'labels.{name}="{value}"' for name, value in labels.items())
    yield f'display_name="{display_name}"'


def active(mill: str) -> str:
    """Return Google's filter for the jobs of a mill that have not ended."""
    return " AND ".join([f'labels.promptmill="{mill}"', *(f'state!="{state}"' for state in sorted(ENDED))])


def interval(waiting: Iterable[Job], now: float, shortest: float, longest: float) -> float:
    """Return the seconds until the next look: short while a job is young, longer as the youngest grows old."""
    youngest = min((max(now - job.create_time, 0.0) for job in waiting), default=0.0)
    return max(shortest, min(youngest * _GROWTH, longest))
