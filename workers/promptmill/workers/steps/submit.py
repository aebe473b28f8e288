"""Creates the job of a shard. This is the one step where a mistake costs money.

1. The worker writes an intent, a lease on creating the job. Only its owner may create.
2. It creates the job in a single call. The labels name run, shard and attempt, and the
   display name is always the same.
3. It records the name of the job.

A worker that finds another worker's intent searches Vertex's list for the job and adopts
it. If no job is listed, it takes over the intent when that is old enough by the bucket's
clock. Any job of the previous owner would be listed by then. The worker replaces exactly
the generation of the intent that it read. If Vertex certainly created nothing, the owner
releases the intent at once.

An owner may be suspended between writing its intent and creating the job, and lose the
intent meanwhile. So it checks the intent again right before it creates. One case remains:
the worker is suspended after this check, for more than half of the visibility time. Its job
is then a duplicate, and the sweep for orphaned jobs cancels it.

The job of a retry may have to wait: the fact ``settled`` of the attempt before has its delay.
"""

import time
from contextlib import suppress

from promptmill.config import names
from promptmill.config.errors import Conflict, OutcomeUnknown, Permanent, Transient
from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.workers.attempts import cost_limit
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Created, Ended, Intent
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.facts.step import Wait
from promptmill.workers.ports.google import BatchJobs, Job, JobRequest
from promptmill.workers.steps import tables
from promptmill.workers.steps.poll import attempt_filters

_RETRY_SECONDS = 10.0
"""Seconds until another worker's intent is checked again."""


def submit(
    attempt: AttemptFolder, jobs: BatchJobs, *, owner: str, visibility_seconds: float
) -> Created | Wait:
    """Create the job of an attempt, or find the existing one.

    ``owner`` must be unique to this call. A job whose creation got no response is listed
    within ``visibility_seconds``, or was not created. Until then, returns Wait.
    """
    if created := _find_created(attempt):
        return created
    if refused := _record_refusal(attempt):
        return refused
    if delay := remaining_delay(attempt):
        return Wait(delay)
    request = _build_request(attempt)
    intent = Intent(owner)
    if not attempt.intent.create(intent):
        if job := _find_job(jobs, request):
            return _record_job(attempt, job.name)
        if wait := _take_over(attempt, jobs, request, intent, visibility_seconds):
            return _find_created(attempt) or wait
    if cancelled := _record_cancelled(attempt):
        return cancelled
    # Another worker may have created the job meanwhile, and Vertex may not list it any more.
    if created := _find_created(attempt):
        return created
    if not _is_fresh(attempt, intent, visibility_seconds):
        _release_intent(attempt, intent)
        return Wait(_RETRY_SECONDS)
    return _create_job(attempt, jobs, request, intent)


def remaining_delay(attempt: AttemptFolder) -> float:
    """Return the seconds until the job of an attempt may be created; 0 for a cancelled run."""
    if attempt.is_first or not (seconds := attempt.previous.settled.get().delay_seconds):
        return 0.0
    stored_outcome = attempt.previous.settled.find_object()
    if stored_outcome is None or attempt.run.cancelled.exists():
        return 0.0
    return max(seconds - attempt.object_age(stored_outcome), 0.0)


def job_labels(attempt: AttemptFolder) -> dict[str, str]:
    """Return the labels that identify the job of an attempt."""
    return {
        "promptmill": names.deployment_id(attempt.bucket.url),
        "run": attempt.run.id,
        "shard": str(attempt.shard),
        "attempt": str(attempt.number),
    }


def _find_created(attempt: AttemptFolder) -> Created | None:
    """Return the recorded outcome of the creation, or None.

    A crash may have left only the end of a refused job; the job is then recorded now.
    """
    if created := attempt.job.find():
        return created
    ended = attempt.ended.find()
    if ended is None:
        return None
    job = ended.job
    return attempt.job.create_or_get(Created(job.name, records.current_time(), job.error_message))


def _record_refusal(attempt: AttemptFolder) -> Created | None:
    """If nothing can or may be sent, end the attempt without a job; otherwise return None."""
    attempt_input = attempt.input.get()
    if attempt_input.requests == 0:
        return _record_job(attempt, "", "no request of the shard can be sent")
    if refusal := cost_limit.refusal_reason(attempt, attempt_input):
        return _record_job(attempt, "", refusal, reason=FailureReason.OVER_BUDGET)
    return None


def _record_cancelled(attempt: AttemptFolder) -> Created | None:
    """If the run is cancelled, end the attempt without a job; otherwise return None."""
    if not attempt.run.cancelled.exists():
        return None
    cancellation = attempt.run.cancelled.get()
    return _record_job(
        attempt, "", cancellation.error_message, "JOB_STATE_CANCELLED", cancellation.reason
    )


def _build_request(attempt: AttemptFolder) -> JobRequest:
    manifest = attempt.run.manifest.get()
    input_uri, output_uri = tables.job_uris(attempt, manifest)
    return JobRequest(
        display_name=attempt.display_name,
        model=attempt.run.plan.get().model or manifest.model,
        input_uri=input_uri,
        output_uri=output_uri,
        labels=job_labels(attempt),
    )


def _is_fresh(attempt: AttemptFolder, intent: Intent, visibility_seconds: float) -> bool:
    """Return whether the intent is still ours, and recent enough to create the job.

    A new job must be listed before other workers may take the intent over. The age is
    taken from the bucket's clock. The duration of this check is added, because the worker
    may be suspended during it.
    """
    started = time.monotonic()
    stored_intent = attempt.intent.find_object()
    if stored_intent is None or attempt.intent.get() != intent:
        return False
    age = attempt.object_age(stored_intent)
    return age + time.monotonic() - started < visibility_seconds / 2


def _create_job(
    attempt: AttemptFolder, jobs: BatchJobs, request: JobRequest, intent: Intent
) -> Created | Wait:
    try:
        job = jobs.create(request)
    except OutcomeUnknown:
        return Wait(_RETRY_SECONDS)
    except Transient:
        _release_intent(attempt, intent)
        raise
    except Permanent as refusal:
        return _record_job(attempt, "", str(refusal))
    return _record_job(attempt, job.name)


def _release_intent(attempt: AttemptFolder, intent: Intent) -> None:
    stored_intent = attempt.intent.find_object()
    if stored_intent and attempt.intent.get() == intent:
        with suppress(Conflict):
            attempt.intent.replace(Intent(""), stored_intent.generation)


def _record_job(
    attempt: AttemptFolder,
    name: str,
    refusal: str = "",
    state: str = "JOB_STATE_FAILED",
    reason: str = "",
) -> Created:
    if refusal:
        job = Job(name, state, error_message=refusal)
        attempt.ended.create(Ended(job, records.current_time(), reason))
    return attempt.job.create_or_get(Created(name, records.current_time(), refusal))


def _take_over(
    attempt: AttemptFolder,
    jobs: BatchJobs,
    request: JobRequest,
    intent: Intent,
    visibility_seconds: float,
) -> Wait | None:
    """Take over the intent if it is free or expired, and no job of it is listed.

    Returns None if the intent is ours now.
    """
    stored_intent = attempt.intent.find_object()
    if stored_intent is None:
        return Wait(_RETRY_SECONDS)
    is_free = not attempt.intent.get().owner
    if not is_free and (remaining := visibility_seconds - attempt.object_age(stored_intent)) > 0:
        return Wait(min(remaining + 1, 60.0))
    if _find_job(jobs, request):
        return Wait(0.0)
    try:
        attempt.intent.replace(intent, stored_intent.generation)
    except Conflict:
        return Wait(_RETRY_SECONDS)
    return None


def _find_job(jobs: BatchJobs, request: JobRequest) -> Job | None:
    """Find the job by its labels or display name; returns the oldest of several."""
    jobs_by_name = {
        job.name: job
        for query in attempt_filters(request.display_name, request.labels)
        for job in jobs.list(query)
    }
    own_jobs = [job for job in jobs_by_name.values() if job.display_name == request.display_name]
    return min(own_jobs, key=lambda job: (job.create_time, job.name), default=None)
