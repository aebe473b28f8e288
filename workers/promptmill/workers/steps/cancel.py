"""Ends a run with what it has: nothing more is submitted, jobs under way are asked to stop, finished rows are kept."""

import msgspec

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Cancelled, Created, Ended
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.ports.google import BatchJobs, Bucket, Job
from promptmill.workers.steps import ingest


def cancel(bucket: Bucket, jobs: BatchJobs, snapshot: RunSnapshot) -> int:
    """Write down the wish, and ask Vertex to cancel the jobs that are open; returns how many.

    From then on nothing is submitted. What Vertex finished is paid for, so it is collected and delivered; a job that is
    being created at this moment is found by the next sweep. A run that its producer has not sent in full ends at once.
    """
    records.create_fact(bucket, names.cancelled(snapshot.run), Cancelled(records.current_time()))
    if _is_partly_sent(snapshot):
        cancellation = records.get_fact(bucket, names.cancelled(snapshot.run), Cancelled)
        state = "expired" if cancellation.reason else "cancelled"
        ingest.abort_run(
            bucket, snapshot.run, f"{cancellation.error_message} before it was submitted", state
        )
    open_jobs = [
        name
        for attempt_ref in open_attempts(snapshot)
        if (name := _read_job_name(bucket, snapshot.run, attempt_ref))
    ]
    for name in open_jobs:
        _request_cancel(jobs, name)
    return len(open_jobs)


def is_due(snapshot: RunSnapshot) -> bool:
    """Whether a run that is cancelled has something left to cancel."""
    return snapshot.cancelled and bool(open_attempts(snapshot) or _is_partly_sent(snapshot))


def open_attempts(snapshot: RunSnapshot) -> list[tuple[int, int]]:
    """Return the attempts whose job has not ended."""
    return [
        attempt_ref
        for attempt_ref, shard_facts in sorted(snapshot.attempts.items())
        if shard_facts.job and not shard_facts.ended
    ]


def has_stuck_jobs(bucket: Bucket, snapshot: RunSnapshot, seconds: float) -> bool:
    """Whether jobs of a run are open so many seconds after it was to end, by the bucket's clock."""
    cancel_marker = (
        bucket.find(names.cancelled(snapshot.run))
        if snapshot.cancelled and open_attempts(snapshot)
        else None
    )
    return (
        cancel_marker is not None
        and records.object_age(bucket, cancel_marker, names.folder(snapshot.run) + "clock")
        > seconds
    )


def is_past_deadline(bucket: Bucket, snapshot: RunSnapshot) -> bool:
    """Whether a run that nobody has ended yet has been open for longer than it may, by the bucket's clock."""
    if (
        snapshot.manifest is None
        or not snapshot.manifest.deadline
        or snapshot.cancelled
        or snapshot.reported
    ):
        return False
    stored_manifest = bucket.find(names.manifest(snapshot.run))
    age = (
        records.object_age(bucket, stored_manifest, names.folder(snapshot.run) + "clock")
        if stored_manifest
        else 0.0
    )
    return age > snapshot.manifest.deadline


def expire_run(bucket: Bucket, run: str) -> None:
    """Write down that a run is to end, as its deadline has passed; ``cancel`` does the rest."""
    records.create_fact(
        bucket,
        names.cancelled(run),
        Cancelled(records.current_time(), FailureReason.DEADLINE_EXCEEDED),
    )


def build_ended(bucket: Bucket, run: str, job: Job) -> Ended:
    """Return how a job ended, as a fact: rows of one that was cancelled for a reason fail for that."""
    cancellation = find_cancellation(bucket, run) if job.state == "JOB_STATE_CANCELLED" else None
    if cancellation is None or not cancellation.reason:
        return Ended(job, records.current_time())
    return Ended(
        msgspec.structs.replace(job, error_message=cancellation.error_message),
        records.current_time(),
        cancellation.reason,
    )


def build_abandoned(bucket: Bucket, run: str, name: str) -> Ended:
    """Return the end of a job of a cancelled run that does not come to its own end."""
    cancellation = records.get_fact(bucket, names.cancelled(run), Cancelled)
    job = Job(name, "JOB_STATE_CANCELLED", error_message=cancellation.error_message)
    return Ended(job, records.current_time(), cancellation.reason, by_hand=True)


def find_cancellation(bucket: Bucket, run: str) -> Cancelled | None:
    """Return the wish that a run end, if there is one."""
    try:
        return records.get_fact(bucket, names.cancelled(run), Cancelled)
    except NotFound:
        return None


def _is_partly_sent(snapshot: RunSnapshot) -> bool:
    return snapshot.plan is None and not snapshot.is_whole


def _read_job_name(bucket: Bucket, run: str, attempt_ref: tuple[int, int]) -> str:
    return records.get_fact(bucket, names.shard(run, *attempt_ref) + "job.json", Created).name


def _request_cancel(jobs: BatchJobs, name: str) -> None:
    try:
        jobs.cancel(name)
    except NotFound:
        return
