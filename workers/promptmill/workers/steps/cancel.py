"""Ends a run early: submits nothing more, cancels its open jobs, keeps finished rows.

Rows that Vertex finished are billed, so they are collected and delivered. If a job is being
created right now, the next sweep cancels it. A run that its producer has not sent in full
ends at once.
"""

import msgspec

from promptmill.config.errors import NotFound
from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Cancelled, Ended
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.ports.google import BatchJobs, Bucket, Job
from promptmill.workers.steps import ingest


def cancel(bucket: Bucket, jobs: BatchJobs, snapshot: RunSnapshot) -> int:
    """Record the cancellation and ask Vertex to cancel the open jobs; returns their number."""
    run = RunFolder(bucket, snapshot.run)
    run.cancelled.create(Cancelled(records.current_time()))
    if _is_partly_sent(snapshot):
        cancellation = run.cancelled.get()
        state = "expired" if cancellation.reason else "cancelled"
        message = f"{cancellation.error_message} before it was submitted"
        ingest.abort_run(run, message, state)
    jobs_of_attempts = (run.attempt(*ref).job.get() for ref in open_attempts(snapshot))
    open_jobs = [created.name for created in jobs_of_attempts if created.name]
    for name in open_jobs:
        _request_cancel(jobs, name)
    return len(open_jobs)


def is_due(snapshot: RunSnapshot) -> bool:
    """Return whether a cancelled run has something left to cancel."""
    return snapshot.cancelled and bool(open_attempts(snapshot) or _is_partly_sent(snapshot))


def open_attempts(snapshot: RunSnapshot) -> list[tuple[int, int]]:
    """Return the attempts whose job has not ended, as (shard, attempt)."""
    attempts = sorted(snapshot.attempts.items())
    return [attempt_ref for attempt_ref, facts in attempts if facts.job and not facts.ended]


def expire_run(run: RunFolder) -> None:
    """Record that the deadline of a run has passed; ``cancel`` does the rest."""
    run.cancelled.create(Cancelled(records.current_time(), FailureReason.DEADLINE_EXCEEDED))


def build_ended(run: RunFolder, job: Job) -> Ended:
    """Return the fact that a job ended.

    If the run's deadline cancelled the job, its rows without an answer get that reason.
    """
    cancellation = run.cancelled.find() if job.state == "JOB_STATE_CANCELLED" else None
    if cancellation is None or not cancellation.reason:
        return Ended(job, records.current_time())
    return Ended(
        msgspec.structs.replace(job, error_message=cancellation.error_message),
        records.current_time(),
        cancellation.reason,
    )


def build_abandoned(run: RunFolder, name: str) -> Ended:
    """Return the fact that the job of a cancelled run was abandoned."""
    cancellation = run.cancelled.get()
    job = Job(name, "JOB_STATE_CANCELLED", error_message=cancellation.error_message)
    return Ended(job, records.current_time(), cancellation.reason, by_hand=True)


def _is_partly_sent(snapshot: RunSnapshot) -> bool:
    return snapshot.plan is None and not snapshot.is_whole


def _request_cancel(jobs: BatchJobs, name: str) -> None:
    try:
        jobs.cancel(name)
    except NotFound:
        return
