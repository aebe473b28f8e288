"""Polls all open jobs with one list call, and computes when to poll next."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from promptmill.config.errors import NotFound, Permanent, Transient
from promptmill.workers.ports.google import TERMINAL_STATES, BatchJobs, Job

_INTERVAL_GROWTH = 0.02
"""The poll interval as a fraction of the age of the youngest job.

A poll costs one call for any number of jobs. At 2 % of a job's age, its end is detected
late by 1 % of its duration on average.
"""
_MAX_FAILURES = 3
"""A poll stops after this many failed calls, and returns what it has so far.

While Vertex is unreachable, each call takes its whole timeout.
"""


class PollResult(NamedTuple):
    """The result of one poll of the open jobs.

    ``lost`` names jobs that Vertex does not know. ``errors`` has the error of each job that
    could not be fetched, by job name.
    """

    ended: list[Job]
    waiting: list[Job]
    lost: list[str]
    errors: dict[str, str]


def check_jobs(jobs: BatchJobs, deployment_id: str, open_jobs: Iterable[str]) -> PollResult:
    """Poll the ``open_jobs`` of a deployment.

    Lists the active jobs in one call, then fetches each job that is not listed. A job that
    cannot be fetched does not delay the others.
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
    """Find a job in Vertex's list that Vertex does not return by name; None if not listed.

    Searches by labels, then by display name.
    """
    candidates = (
        job for query in attempt_filters(display_name, labels) for job in jobs.list(query)
    )
    return next((job for job in candidates if job.name == name), None)


def attempt_filters(display_name: str, labels: Mapping[str, str]) -> Iterator[str]:
    """Yield list filters for the jobs of one attempt: by labels, then by display name."""
    yield " AND ".join(f'labels.{name}="{value}"' for name, value in labels.items())
    yield f'display_name="{display_name}"'


def active_filter(deployment_id: str) -> str:
    """Return the list filter for the jobs of a deployment that have not ended."""
    not_ended = [f'state!="{state}"' for state in sorted(TERMINAL_STATES)]
    return " AND ".join([f'labels.promptmill="{deployment_id}"', *not_ended])


def next_interval(waiting: Iterable[Job], now: float, shortest: float, longest: float) -> float:
    """Return the seconds until the next poll; they grow with the age of the youngest job."""
    youngest = min((max(now - job.create_time, 0.0) for job in waiting), default=0.0)
    return max(shortest, min(youngest * _INTERVAL_GROWTH, longest))
