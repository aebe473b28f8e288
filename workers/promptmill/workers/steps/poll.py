"""Looks at all open jobs at once, with one list call, and says when to look again."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from promptmill.config.errors import NotFound, Permanent, Transient
from promptmill.workers.ports.google import TERMINAL_STATES, BatchJobs, Job

_INTERVAL_GROWTH = 0.02
"""A look costs one call whatever the number of jobs, so the interval only follows the age of the youngest job: at 2 % of
it, detection is late by 1 % of a job's duration on average."""
_MAX_FAILURES = 3
"""Calls of one look that may fail before it ends with what it saw: while Vertex is away, each takes its whole timeout."""


class PollResult(NamedTuple):
    """The jobs that ended, those that did not, those that Vertex does not know, and why others could not be looked at."""

    ended: list[Job]
    waiting: list[Job]
    lost: list[str]
    errors: dict[str, str]


def check_jobs(jobs: BatchJobs, deployment_id: str, open_jobs: Iterable[str]) -> PollResult:
    """Look at the ``open_jobs`` of a mill: one list of those still active, then each that is not on it by itself.

    Of many jobs that end at once, one that cannot be looked at does not keep the others back.
    """
    job_names = set(open_jobs)
    jobs_by_name = {
        job.name: job for job in jobs.list(active_filter(deployment_id)) if job.name in job_names
    }
    lost: list[str] = []
    errors: dict[str, str] = {}
    for name in sorted(job_names - jobs_by_name.keys()):
        try:
            jobs_by_name[name] = jobs.get(name)
        except NotFound:
            lost.append(name)
        except (Transient, Permanent) as error:
            errors[name] = str(error)
            if len(errors) == _MAX_FAILURES:
                break
    return PollResult(
        ended=[job for job in jobs_by_name.values() if job.has_ended],
        waiting=[job for job in jobs_by_name.values() if not job.has_ended],
        lost=lost,
        errors=errors,
    )


def find_listed_job(
    jobs: BatchJobs, name: str, display_name: str, labels: Mapping[str, str]
) -> Job | None:
    """Look in Vertex's list for a job that it does not know by its name: by its labels, and by its display name."""
    candidates = (
        job for query in attempt_filters(display_name, labels) for job in jobs.list(query)
    )
    return next((job for job in candidates if job.name == name), None)


def attempt_filters(display_name: str, labels: Mapping[str, str]) -> Iterator[str]:
    """Yield Google's filters for the jobs of one attempt: by their labels, and by their display name."""
    yield " AND ".join(f'labels.{name}="{value}"' for name, value in labels.items())
    yield f'display_name="{display_name}"'


def active_filter(deployment_id: str) -> str:
    """Return Google's filter for the jobs of a mill that have not ended."""
    return " AND ".join(
        [
            f'labels.promptmill="{deployment_id}"',
            *(f'state!="{state}"' for state in sorted(TERMINAL_STATES)),
        ]
    )


def next_interval(waiting: Iterable[Job], now: float, shortest: float, longest: float) -> float:
    """Return the seconds until the next look: short while a job is young, longer as the youngest grows old."""
    youngest = min((max(now - job.create_time, 0.0) for job in waiting), default=0.0)
    return max(shortest, min(youngest * _INTERVAL_GROWTH, longest))
