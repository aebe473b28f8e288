"""Polls the open jobs, and records how they end."""

from typing import NamedTuple

import structlog

from promptmill.config import names
from promptmill.workers.coordination.open_jobs import OpenJob, OpenJobs
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import BatchJobs, Bucket, Job
from promptmill.workers.steps import cancel, poll, submit
from promptmill.workers.supervision.alarms import MISSING, JobAlarms
from promptmill.workers.supervision.job_endings import JobEndings

_log = structlog.get_logger(__name__)


class PollOutcome(NamedTuple):
    """The next steps for jobs that ended, and the jobs that did not end."""

    next_steps: list[Step]
    waiting: list[Job]


class Polling:
    """Polls all open jobs at once."""

    def __init__(
        self,
        jobs: BatchJobs,
        open_jobs: OpenJobs,
        bucket: Bucket,
        alarms: JobAlarms,
        endings: JobEndings,
    ) -> None:
        self._jobs = jobs
        self._open_jobs = open_jobs
        self._bucket = bucket
        self._alarms = alarms
        self._endings = endings

    def poll_open_jobs(self) -> PollOutcome:
        """Poll all open jobs, and record those that ended."""
        open_jobs = {job.name: job for job in self._open_jobs.list_jobs()}
        polled = poll.check_jobs(self._jobs, names.deployment_id(self._bucket.url), open_jobs)
        for name, error in polled.errors.items():
            _log.warning("job_poll_failed", job=name, run=open_jobs[name].run, error=error)
        now = self._open_jobs.server_time()
        missing = [self._find_missing_job(open_jobs[name], now) for name in polled.lost]
        waiting = polled.waiting + [job for job in missing if not job.has_ended]
        for job in waiting:
            self._alarms.check_job(open_jobs[job.name], job, now)
        ended = polled.ended + [job for job in missing if job.has_ended]
        next_steps = [step for job in ended for step in self._record_end(open_jobs[job.name], job)]
        return PollOutcome(next_steps, waiting)

    def _find_missing_job(self, open_job: OpenJob, now: float) -> Job:
        """Return a job for which Vertex answered 404: as listed, or in state MISSING."""
        listed = find_job(self._jobs, self._bucket, open_job)
        # It counts as created when it was first missing, so polls become less frequent.
        return listed or Job(open_job.name, MISSING, create_time=open_job.since or now)

    def _record_end(self, open_job: OpenJob, job: Job) -> list[Step]:
        ended = cancel.build_ended(RunFolder(self._bucket, open_job.run), job)
        return self._endings.record_end(open_job, ended)


def find_job(jobs: BatchJobs, bucket: Bucket, open_job: OpenJob) -> Job | None:
    """Search Vertex's list for a job that it did not return by name."""
    attempt = RunFolder(bucket, open_job.run).attempt(open_job.shard, open_job.attempt)
    labels = submit.job_labels(attempt)
    return poll.find_listed_job(jobs, open_job.name, attempt.display_name, labels)
