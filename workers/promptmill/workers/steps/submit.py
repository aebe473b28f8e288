"""Creates the job of a shard: the one step where money is at stake.

1. An intent is written, once. Only its owner may create.
2. The job is created in one try, labelled with run, shard and attempt, under a display name that is always the same.
3. Its name is written down.

Whoever finds an intent of somebody else's looks for the job in Vertex's list, and adopts it. When there is none, and the
intent is so old (by the server's clock) that a creation under way would have turned up, it takes the intent over by
replacing exactly the generation it saw. When Vertex surely created nothing, the owner gives the intent back at once.

An owner may stand still for as long between writing its intent and creating, and then be overtaken. So it looks at its
intent once more right before it creates. What remains is a worker that stands still between that look and Vertex's having
its call, for more than half of the settle time: its job is a duplicate, which the sweep for stray jobs finds and cancels.
"""

import time
from contextlib import suppress

from promptmill.config import names
from promptmill.config.errors import Conflict, NotFound, OutcomeUnknown, Permanent, Transient
from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.attempts import cost_limit
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Cancelled, Created, Ended, Input, Intent
from promptmill.workers.facts.step import Wait
from promptmill.workers.ports.google import BatchJobs, Bucket, Job, JobRequest
from promptmill.workers.steps import tables
from promptmill.workers.steps.poll import attempt_filters

_RETRY_SECONDS = 10.0
"""Seconds until somebody else's intent is looked at again."""


def submit(
    bucket: Bucket,
    jobs: BatchJobs,
    run: str,
    shard: int,
    attempt: int,
    *,
    owner: str,
    visibility_seconds: float,
) -> Created | Wait:
    """Create the shard's job, or find the one that is there.

    ``owner`` is new for every call. A creation that was not answered turns up in Vertex's list within
    ``visibility_seconds``, or it did not happen. Returns Wait while that is open.
    """
    folder = names.shard(run, shard, attempt)
    if created := _find_created(bucket, folder):
        return created
    attempt_input = records.get_fact(bucket, folder + "input.json", Input)
    if attempt_input.requests == 0:
        return _record_job(bucket, folder, "", "no request of the shard can be sent")
    if refusal := cost_limit.refusal_reason(bucket, run, shard, attempt, attempt_input):
        return _record_job(bucket, folder, "", refusal, reason=FailureReason.OVER_BUDGET)
    request = _build_request(bucket, run, shard, attempt)
    intent = Intent(owner)
    if not records.create_fact(bucket, folder + "intent.json", intent):
        if job := _find_job(jobs, request):
            return _record_job(bucket, folder, job.name)
        if wait := _take_over(bucket, jobs, folder, request, intent, visibility_seconds):
            return _find_created(bucket, folder) or wait
    if bucket.find(names.cancelled(run)):
        cancellation = records.get_fact(bucket, names.cancelled(run), Cancelled)
        return _record_job(
            bucket,
            folder,
            "",
            cancellation.error_message,
            "JOB_STATE_CANCELLED",
            cancellation.reason,
        )
    if created := _find_created(
        bucket, folder
    ):  # by others, while we stood still; their job may be gone from the list by now
        return created
    if not _is_fresh(bucket, folder, intent, visibility_seconds):
        _release_intent(bucket, folder, intent)
        return Wait(_RETRY_SECONDS)
    return _create_job(bucket, jobs, folder, request, intent)


def job_labels(bucket: Bucket, run: str, shard: int, attempt: int) -> dict[str, str]:
    """Return the labels by which a job is found again."""
    return {
        "promptmill": names.deployment_id(bucket.url),
        "run": run,
        "shard": str(shard),
        "attempt": str(attempt),
    }


def _find_created(bucket: Bucket, folder: str) -> Created | None:
    """Return what came of the creation, if that is known; a refusal is known by its end, when a crash left only that."""
    try:
        return records.get_fact(bucket, folder + "job.json", Created)
    except NotFound:
        pass
    try:
        refused_job = records.get_fact(bucket, folder + "ended.json", Ended).job
    except NotFound:
        return None
    return records.create_or_get(
        bucket,
        folder + "job.json",
        Created(refused_job.name, records.current_time(), refused_job.error_message),
    )


def _build_request(bucket: Bucket, run: str, shard: int, attempt: int) -> JobRequest:
    manifest = records.get_fact(bucket, names.manifest(run), Manifest)
    input_uri, output_uri = tables.job_uris(bucket, manifest, shard, attempt)
    return JobRequest(
        display_name=names.display_name(run, shard, attempt),
        model=manifest.model,
        input_uri=input_uri,
        output_uri=output_uri,
        labels=job_labels(bucket, run, shard, attempt),
    )


def _is_fresh(bucket: Bucket, folder: str, intent: Intent, visibility_seconds: float) -> bool:
    """Whether the intent is still ours, and so young that a creation has time to turn up before others may take it over.

    Its age is told by the bucket's clock; how long it took to ask is added, as we may have stood still meanwhile.
    """
    started = time.monotonic()
    stored_intent = bucket.find(folder + "intent.json")
    if stored_intent is None or records.get_fact(bucket, folder + "intent.json", Intent) != intent:
        return False
    age = records.object_age(bucket, stored_intent, folder + "clock")
    return age + time.monotonic() - started < visibility_seconds / 2


def _create_job(
    bucket: Bucket, jobs: BatchJobs, folder: str, request: JobRequest, intent: Intent
) -> Created | Wait:
    try:
        job = jobs.create(request)
    except OutcomeUnknown:
        return Wait(_RETRY_SECONDS)
    except Transient:
        _release_intent(bucket, folder, intent)
        raise
    except Permanent as refusal:
        return _record_job(bucket, folder, "", str(refusal))
    return _record_job(bucket, folder, job.name)


def _release_intent(bucket: Bucket, folder: str, intent: Intent) -> None:
    """Nothing was created, so nobody needs to wait for it to turn up; unless the intent is another's by now."""
    stored_intent = bucket.find(folder + "intent.json")
    if stored_intent and records.get_fact(bucket, folder + "intent.json", Intent) == intent:
        with suppress(Conflict):
            bucket.replace(
                folder + "intent.json", records.encode_fact(Intent("")), stored_intent.generation
            )


def _record_job(
    bucket: Bucket,
    folder: str,
    name: str,
    refusal: str = "",
    state: str = "JOB_STATE_FAILED",
    reason: str = "",
) -> Created:
    if refusal:
        records.create_fact(
            bucket,
            folder + "ended.json",
            Ended(Job(name, state, error_message=refusal), records.current_time(), reason),
        )
    return records.create_or_get(
        bucket, folder + "job.json", Created(name, records.current_time(), refusal)
    )


def _take_over(
    bucket: Bucket,
    jobs: BatchJobs,
    folder: str,
    request: JobRequest,
    intent: Intent,
    visibility_seconds: float,
) -> Wait | None:
    """Make the intent ours, if its owner is gone and no job of its turned up; None when it is."""
    stored_intent = bucket.find(folder + "intent.json")
    if stored_intent is None:
        return Wait(_RETRY_SECONDS)
    is_free = not records.get_fact(bucket, folder + "intent.json", Intent).owner
    if (
        not is_free
        and (
            remaining := visibility_seconds
            - records.object_age(bucket, stored_intent, folder + "clock")
        )
        > 0
    ):
        return Wait(min(remaining + 1, 60.0))
    if _find_job(jobs, request):
        return Wait(0.0)
    try:
        bucket.replace(
            folder + "intent.json", records.encode_fact(intent), stored_intent.generation
        )
    except Conflict:
        return Wait(_RETRY_SECONDS)
    return None


def _find_job(jobs: BatchJobs, request: JobRequest) -> Job | None:
    """Look for the job by its labels and by its name; the oldest, should there be several."""
    jobs_by_name = {
        job.name: job
        for query in attempt_filters(request.display_name, request.labels)
        for job in jobs.list(query)
    }
    own_jobs = [job for job in jobs_by_name.values() if job.display_name == request.display_name]
    return min(own_jobs, key=lambda job: (job.create_time, job.name), default=None)
