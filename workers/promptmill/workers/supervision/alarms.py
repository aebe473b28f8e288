"""Tells people of jobs and runs that are not as they should be: once for each state, however often they are looked at."""

from typing import NamedTuple

import structlog

from promptmill.config import names, spans
from promptmill.config.settings import Settings
from promptmill.workers.coordination import progress
from promptmill.workers.coordination.notes import OpenJob
from promptmill.workers.facts import records
from promptmill.workers.facts.snapshot import RunFacts
from promptmill.workers.ports.google import Job
from promptmill.workers.services import Services

_log = structlog.get_logger(__name__)

MISSING = "MISSING"
"""Our own word for the state of a job that Vertex does not know any more."""

_ONCE = 30 * 86_400.0


class Alarm(NamedTuple):
    """After how many seconds in a state people are told, and what."""

    seconds: float
    words: str


def note(services: Services, known: OpenJob, job: Job, now: float) -> None:
    """Note the state that a job was seen in at ``now`` (Redis's time), and tell people when it has lasted for too long."""
    if known.state != job.state:
        known = _note_change(services, known, job, now)
    alarm = _alarm(services.settings, job.state)
    if not known.told and now - _since(known, job) > alarm.seconds:
        _tell(services, known, alarm)


def forget(services: Services, known: OpenJob) -> None:
    """Take back what people were told of a job, which is as it should be now."""
    if known.told:
        services.index.warn(known.run, known.shard, known.attempt, "")


def is_lost(job: OpenJob) -> bool:
    """Whether Vertex has not known a job for so long that a person must say what is to become of it."""
    return job.told and job.state == MISSING


def note_run(services: Services, known: RunFacts) -> str:
    """Tell people, once, of a run that has waited for too long to be sent in full; returns what they are told then."""
    opened = services.bucket.find(names.manifest(known.run)) if _waits(known) else None
    limit = services.settings.late_open_seconds
    if opened is None or records.age(services.bucket, opened, names.folder(known.run) + "clock") <= limit:
        return ""
    words = f"it was not sent in full within {spans.show(limit)}: send it again with its idempotency key, or cancel it"
    if services.notes.claim(f"{known.run}.late", _ONCE):
        services.index.warn_of_run(known.run, words)
        _log.warning("a run was not sent in full", run=known.run, chunks=len(known.chunks), sealed=known.sealed)
        services.notes.count_alarm("open")
    return words


def _waits(known: RunFacts) -> bool:
    return known.manifest is not None and known.plan is None and not (known.is_whole or known.aborted)


def _since(known: OpenJob, job: Job) -> float:
    """Since when a job is in its state: as Vertex tells it, where it does."""
    match job.state:
        case "JOB_STATE_QUEUED" | "JOB_STATE_PENDING":
            return job.create_time or known.since
        case "JOB_STATE_RUNNING":
            return job.start_time or known.since
        case _:
            return known.since


def _alarm(settings: Settings, state: str) -> Alarm:
    if state == MISSING:
        return Alarm(settings.lost_seconds, "Vertex does not know its job any more: see promptmill lost-jobs")
    match state:
        case "JOB_STATE_QUEUED" | "JOB_STATE_PENDING":
            return _late(settings.late_queued_seconds, "has waited in Vertex's queue")
        case "JOB_STATE_RUNNING":
            return _late(settings.late_running_seconds, "has run")
        case "JOB_STATE_CANCELLING":
            return _late(settings.late_cancelling_seconds, "was asked to stop, and has not done so,")
        case _:
            return Alarm(-1.0, f"its job is in state {state}, of which nothing is known: it is looked at further")


def _late(seconds: float, words: str) -> Alarm:
    return Alarm(seconds, f"its job {words} for more than {spans.show(seconds)}")


def _note_change(services: Services, known: OpenJob, job: Job, now: float) -> OpenJob:
    changed = known._replace(state=job.state, since=now, told=False)
    services.notes.add_job(services.settings.parent, changed)
    forget(services, known)
    if job.state == MISSING:
        _log.warning("Vertex does not know a job", run=known.run, shard=known.shard, job=known.name)
    else:
        progress.watched(services.index, known, job)
    return changed


def _tell(services: Services, known: OpenJob, alarm: Alarm) -> None:
    services.index.warn(known.run, known.shard, known.attempt, alarm.words)
    services.notes.add_job(services.settings.parent, known._replace(told=True))
    services.notes.count_alarm(known.state)
    _log.warning(alarm.words, run=known.run, shard=known.shard, attempt=known.attempt, job=known.name)
