"""Warns users of jobs that stay in one state for too long, once per state."""

from typing import NamedTuple

import structlog

from promptmill.config import spans
from promptmill.config.settings import Settings
from promptmill.producers.contract.run_index import RunIndex
from promptmill.workers.coordination import progress
from promptmill.workers.coordination.alarm_counts import AlarmCounts
from promptmill.workers.coordination.open_jobs import OpenJob, OpenJobs
from promptmill.workers.ports.google import Job

_log = structlog.get_logger(__name__)

MISSING = "MISSING"
"""The state of a job that Vertex no longer knows. Not one of Google's states."""


class Alarm(NamedTuple):
    """The warning about a state, and the seconds in it after which users are warned."""

    seconds: float
    message: str


class JobAlarms:
    """Warnings about open jobs, which users see in the status of a run."""

    def __init__(
        self, open_jobs: OpenJobs, index: RunIndex, counts: AlarmCounts, settings: Settings
    ) -> None:
        self._open_jobs = open_jobs
        self._index = index
        self._counts = counts
        self._settings = settings

    def check_job(self, open_job: OpenJob, job: Job, now: float) -> None:
        """Record the state of a job at ``now`` (Redis's time), and warn if it lasts too long."""
        if open_job.state != job.state:
            open_job = self._record_change(open_job, job, now)
        alarm = _alarm_for(self._settings, job.state)
        if not open_job.is_reported and now - _state_since(open_job, job) > alarm.seconds:
            self._raise_alarm(open_job, alarm)

    def clear_alarm(self, open_job: OpenJob) -> None:
        """Remove the warning about a job."""
        if open_job.is_reported:
            self._index.set_shard_warning(open_job.run, open_job.shard, open_job.attempt, "")

    def _record_change(self, open_job: OpenJob, job: Job, now: float) -> OpenJob:
        changed = open_job._replace(state=job.state, since=now, is_reported=False)
        self._open_jobs.add_job(changed)
        self.clear_alarm(open_job)
        if job.state == MISSING:
            _log.warning("job_missing", run=open_job.run, shard=open_job.shard, job=open_job.name)
        else:
            progress.record_job_state(self._index, open_job, job)
        return changed

    def _raise_alarm(self, open_job: OpenJob, alarm: Alarm) -> None:
        attempt_ref = open_job.run, open_job.shard, open_job.attempt
        self._index.set_shard_warning(*attempt_ref, alarm.message)
        self._open_jobs.add_job(open_job._replace(is_reported=True))
        self._counts.count_alarm(open_job.state)
        _log.warning(
            "job_overdue",
            run=open_job.run,
            shard=open_job.shard,
            attempt=open_job.attempt,
            job=open_job.name,
            warning=alarm.message,
        )


def is_lost(job: OpenJob) -> bool:
    """Whether Vertex has not known a job for so long that an operator must act."""
    return job.is_reported and job.state == MISSING


def _state_since(open_job: OpenJob, job: Job) -> float:
    """Return since when a job is in its state, by Vertex's clock where it reports that."""
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
            settings.lost_seconds, "Vertex no longer has its job; see promptmill lost-jobs"
        )
    match state:
        case "JOB_STATE_QUEUED" | "JOB_STATE_PENDING":
            return _late_alarm(settings.late_queued_seconds, "has waited in Vertex's queue")
        case "JOB_STATE_RUNNING":
            return _late_alarm(settings.late_running_seconds, "has run")
        case "JOB_STATE_CANCELLING":
            return _late_alarm(settings.late_cancelling_seconds, "is being cancelled")
        case _:
            return Alarm(-1.0, f"its job is in the unknown state {state}; polling continues")


def _late_alarm(seconds: float, phrase: str) -> Alarm:
    return Alarm(seconds, f"its job {phrase} for more than {spans.format_duration(seconds)}")
