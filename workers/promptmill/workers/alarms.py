"""Tells people of open jobs that are not as they should be: once for each job and state, however often it is looked at."""

import structlog

from promptmill.config.settings import Settings
from promptmill.workers import progress
from promptmill.workers.notes import OpenJob
from promptmill.workers.ports import Job
from promptmill.workers.services import Services

_log = structlog.get_logger(__name__)

MISSING = "MISSING"
"""Our own word for the state of a job that Vertex does not know any more."""


def note(services: Services, known: OpenJob, job: Job, now: float) -> None:
    """Note the state that a job was seen in at ``now`` (Redis's time), and tell people when it has lasted for too long."""
    if known.state != job.state:
        _note_change(services, known, job, now)
    elif not known.told and now - known.since > patience(services.settings, job.state):
        _tell(services, known)


def forget(services: Services, known: OpenJob) -> None:
    """Take back what people were told of a job, which is as it should be now."""
    if known.told:
        services.index.warn(known.run, known.shard, known.attempt, "")


def is_lost(job: OpenJob) -> bool:
    """Whether Vertex has not known a job for so long that a person must say what is to become of it."""
    return job.told and job.state == MISSING


def patience(settings: Settings, state: str) -> float:
    """Return the seconds for which a job may be in a state before people are told."""
    return settings.lost_seconds if state == MISSING else float("inf")


def _note_change(services: Services, known: OpenJob, job: Job, now: float) -> None:
    services.notes.add_job(services.settings.parent, known._replace(state=job.state, since=now, told=False))
    forget(services, known)
    if job.state == MISSING:
        _log.warning("Vertex does not know a job", run=known.run, shard=known.shard, job=known.name)
    else:
        progress.watched(services.index, known, job)


def _tell(services: Services, known: OpenJob) -> None:
    words = "Vertex does not know its job any more: see promptmill lost-jobs"
    services.index.warn(known.run, known.shard, known.attempt, words)
    services.notes.add_job(services.settings.parent, known._replace(told=True))
    _log.warning(words, run=known.run, shard=known.shard, attempt=known.attempt, job=known.name)
