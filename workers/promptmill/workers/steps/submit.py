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
from promptmill.config.errors import Conflict, NotFound, Permanent, Transient, Unanswered
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.attempts import cost_limit
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Cancelled, Created, Ended, Input, Intent
from promptmill.workers.facts.step import Wait
from promptmill.workers.ports.google import BatchJobs, Bucket, Job, JobRequest
from promptmill.workers.steps import tables
from promptmill.workers.steps.poll import of_attempt

_RETRY = 10.0
"""Seconds until somebody else's intent is looked at again."""


def submit(
    bucket: Bucket, jobs: BatchJobs, run: str, index: int, attempt: int, *, owner: str, settle_seconds: float
) -> Created | Wait:
    """Create the shard's job, or find the one that is there.

    ``owner`` is new for every call. A creation that was not answered turns up in Vertex's list within
    ``settle_seconds``, or it did not happen. Returns Wait while that is open.
    """
    folder = names.shard(run, index, attempt)
    if done := _created(bucket, folder):
        return done
    whole = records.get(bucket, folder + "input.json", Input)
    if whole.requests == 0:
        return _write_down(bucket, folder, "", "no request of the shard can be sent")
    if refusal := cost_limit.refusal(bucket, run, index, attempt, whole):
        return _write_down(bucket, folder, "", refusal, reason=cost_limit.REASON)
    request = _request(bucket, run, index, attempt)
    intent = Intent(owner)
    if not records.put(bucket, folder + "intent.json", intent):
        if job := _find_job(jobs, request):
            return _write_down(bucket, folder, job.name)
        if wait := _take_over(bucket, jobs, folder, request, intent, settle_seconds):
            return _created(bucket, folder) or wait
    if bucket.find(names.cancelled(run)):
        wish = records.get(bucket, names.cancelled(run), Cancelled)
        return _write_down(bucket, folder, "", wish.words, "JOB_STATE_CANCELLED", wish.reason)
    if done := _created(bucket, folder):  # by others, while we stood still; their job may be gone from the list by now
        return done
    if not _is_fresh(bucket, folder, intent, settle_seconds):
        _give_back(bucket, folder, intent)
        return Wait(_RETRY)
    return _create(bucket, jobs, folder, request, intent)


def labels(bucket: Bucket, run: str, index: int, attempt: int) -> dict[str, str]:
    """Return the labels by which a job is found again."""
    return {"promptmill": names.mill(bucket.url), "run": run, "shard": str(index), "attempt": str(attempt)}


def _created(bucket: Bucket, folder: str) -> Created | None:
    """Return what came of the creation, if that is known; a refusal is known by its end, when a crash left only that."""
    try:
        return records.get(bucket, folder + "job.json", Created)
    except NotFound:
        pass
    try:
        refused = records.get(bucket, folder + "ended.json", Ended).job
    except NotFound:
        return None
    return records.keep(bucket, folder + "job.json", Created(refused.name, records.now(), refused.error_message))


def _request(bucket: Bucket, run: str, index: int, attempt: int) -> JobRequest:
    manifest = records.get(bucket, names.manifest(run), Manifest)
    input_uri, output_uri = tables.uris(bucket, manifest, index, attempt)
    return JobRequest(
        display_name=names.display_name(run, index, attempt),
        model=manifest.model,
        input_uri=input_uri,
        output_uri=output_uri,
        labels=labels(bucket, run, index, attempt),
    )


def _is_fresh(bucket: Bucket, folder: str, intent: Intent, settle_seconds: float) -> bool:
    """Whether the intent is still ours, and so young that a creation has time to turn up before others may take it over.

    Its age is told by the bucket's clock; how long it took to ask is added, as we may have stood still meanwhile.
    """
    asked = time.monotonic()
    seen = bucket.find(folder + "intent.json")
    if seen is None or records.get(bucket, folder + "intent.json", Intent) != intent:
        return False
    age = records.age(bucket, seen, folder + "clock")
    return age + time.monotonic() - asked < settle_seconds / 2


def _create(bucket: Bucket, jobs: BatchJobs, folder: str, request: JobRequest, intent: Intent) -> Created | Wait:
    try:
        job = jobs.create(request)
    except Unanswered:
        return Wait(_RETRY)
    except Transient:
        _give_back(bucket, folder, intent)
        raise
    except Permanent as refusal:
        return _write_down(bucket, folder, "", str(refusal))
    return _write_down(bucket, folder, job.name)


def _give_back(bucket: Bucket, folder: str, intent: Intent) -> None:
    """Nothing was created, so nobody needs to wait for it to turn up; unless the intent is another's by now."""
    seen = bucket.find(folder + "intent.json")
    if seen and records.get(bucket, folder + "intent.json", Intent) == intent:
        with suppress(Conflict):
            bucket.replace(folder + "intent.json", records.encode(Intent("")), seen.generation)


def _write_down(
    bucket: Bucket, folder: str, name: str, refusal: str = "", state: str = "JOB_STATE_FAILED", reason: str = ""
) -> Created:
    if refusal:
        records.put(
            bucket, folder + "ended.json", Ended(Job(name, state, error_message=refusal), records.now(), reason)
        )
    return records.keep(bucket, folder + "job.json", Created(name, records.now(), refusal))


def _take_over(
    bucket: Bucket, jobs: BatchJobs, folder: str, request: JobRequest, intent: Intent, settle_seconds: float
) -> Wait | None:
    """Make the intent ours, if its owner is gone and no job of its turned up; None when it is."""
    seen = bucket.find(folder + "intent.json")
    if seen is None:
        return Wait(_RETRY)
    free = not records.get(bucket, folder + "intent.json", Intent).owner
    if not free and (left := settle_seconds - records.age(bucket, seen, folder + "clock")) > 0:
        return Wait(min(left + 1, 60.0))
    if _find_job(jobs, request):
        return Wait(0.0)
    try:
        bucket.replace(folder + "intent.json", records.encode(intent), seen.generation)
    except Conflict:
        return Wait(_RETRY)
    return None


def _find_job(jobs: BatchJobs, request: JobRequest) -> Job | None:
    """Look for the job by its labels and by its name; the oldest, should there be several."""
    found = {job.name: job for query in of_attempt(request.display_name, request.labels) for job in jobs.list(query)}
    ours = [job for job in found.values() if job.display_name == request.display_name]
    return min(ours, key=lambda job: (job.create_time, job.name), default=None)
