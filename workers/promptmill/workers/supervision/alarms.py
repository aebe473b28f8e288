"""Tells people of jobs and runs that are not as they should be: once for each state, however often they are looked at."""

from typing import NamedTuple

import structlog

from promptmill.config import names, spans
from promptmill.config.settings import Settings
from promptmill.workers.coordination import progress
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.facts import records
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.ports.google import Job
from promptmill.workers.services import Services

_log = structlog.get_logger(__name__)

MISSING = "MISSING"
"""Our own word for the state of a job that Vertex does not know any more."""

_REPORT_ONCE_SECONDS = 30 * 86_400.0


class Alarm(NamedTuple):
    """After how many seconds in a state people are told, and what."""

    seconds: float
    message: str


def check_job(services: Services, open_job: OpenJob, job: Job, now: float) -> None:
    """Note the state that a job was seen in at ``now`` (Redis's time), and tell people when it has lasted for too long."""
    if open_job.state != job.state:
        open_job = _record_change(services, open_job, job, now)
    alarm = _alarm_for(services.settings, job.state)
    if not open_job.is_reported and now - _state_since(open_job, job) > alarm.seconds:
        _raise_alarm(services, open_job, alarm)


def clear_alarm(services: Services, open_job: OpenJob) -> None:
    """Take back what people were told of a job, which is as it should be now."""
    if open_job.is_reported:
        services.index.set_shard_warning(open_job.run, open_job.shard, open_job.attempt, "")


def is_lost(job: OpenJob) -> bool:
    """Whether Vertex has not known a job for so long that a person must say what is to become of it."""
    return job.is_reported and job.state == MISSING


def check_run(services: Services, snapshot: RunSnapshot) -> str:
    """Tell people, once, of a run that has waited for too long to be sent in full; returns what they are told then."""
    opened = (
        services.bucket.find(names.manifest(snapshot.run)) if _is_incomplete(snapshot) else None
    )
    limit = services.settings.late_open_seconds
    if (
        opened is None
        or records.object_age(services.bucket, opened, names.folder(snapshot.run) + "clock")
        <= limit
    ):
        return ""
    message = f"it was not sent in full within {spans.format_duration(limit)}: send it again with its idempotency key, or cancel it"
    if services.claims.try_claim(f"{snapshot.run}.late", _REPORT_ONCE_SECONDS):
        services.index.set_run_warning(snapshot.run, message)
        _log.warning(
            "a run was not sent in full",
            run=snapshot.run,
            chunks=len(snapshot.chunks),
            sealed=snapshot.sealed,
        )
        services.alarm_counts.count_alarm("open")
    return message


def _is_incomplete(snapshot: RunSnapshot) -> bool:
    return (
        snapshot.manifest is not None
        and snapshot.plan is None
        and not (snapshot.is_whole or snapshot.aborted)
    )


def _state_since(open_job: OpenJob, job: Job) -> float:
    """Since when a job is in its state: as Vertex tells it, where it does."""
    match job.state:
        case "JOB_STATE_QUEUED" | "JOB_STATE_PENDING":
            return job.create_time or open_job.since
        case "JOB_STATE_RUNNING":
            return job.start_time or open_job.since
        case _:
            return open_job.since


def _alarm_for(settings: Settings, state: str) -> Alarm:
    if state == MISSING:
        return Alarm(
            settings.lost_seconds, "Vertex does not know its job any more: see promptmill lost-jobs"
        )
    match state:
        case "JOB_STATE_QUEUED" | "JOB_STATE_PENDING":
            return _late_alarm(settings.late_queued_seconds, "has waited in Vertex's queue")
        case "JOB_STATE_RUNNING":
            return _late_alarm(settings.late_running_seconds, "has run")
        case "JOB_STATE_CANCELLING":
            return _late_alarm(
                settings.late_cancelling_seconds, "was asked to stop, and has not done so,"
            )
        case _:
            return Alarm(
                -1.0,
                f"its job is in state {state}, of which nothing is known: it is looked at further",
            )


def _late_alarm(seconds: float, phrase: str) -> Alarm:
    return Alarm(seconds, f"its job {phrase} for more than {spans.format_duration(seconds)}")


def _record_change(services: Services, open_job: OpenJob, job: Job, now: float) -> OpenJob:
    changed = open_job._replace(state=job.state, since=now, is_reported=False)
    services.open_jobs.add_job(changed)
    clear_alarm(services, open_job)
    if job.state == MISSING:
        _log.warning(
            "Vertex does not know a job", run=open_job.run, shard=open_job.shard, job=open_job.name
        )
    else:
        progress.record_job_state(services.index, open_job, job)
    return changed


def _raise_alarm(services: Services, open_job: OpenJob, alarm: Alarm) -> None:
    services.index.set_shard_warning(open_job.run, open_job.shard, open_job.attempt, alarm.message)
    services.open_jobs.add_job(open_job._replace(is_reported=True))
    services.alarm_counts.count_alarm(open_job.state)
    _log.warning(
        alarm.message,
        run=open_job.run,
        shard=open_job.shard,
        attempt=open_job.attempt,
        job=open_job.name,
    )
