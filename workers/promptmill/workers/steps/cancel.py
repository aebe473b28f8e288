"""Ends a run with what it has: nothing more is submitted, jobs under way are asked to stop, finished rows are kept."""

import msgspec

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Cancelled, Created, Ended
from promptmill.workers.facts.snapshot import RunFacts
from promptmill.workers.ports.google import BatchJobs, Bucket, Job
from promptmill.workers.steps import ingest

DEADLINE = "DEADLINE_EXCEEDED"


def cancel(bucket: Bucket, jobs: BatchJobs, known: RunFacts) -> int:
    """Write down the wish, and ask Vertex to cancel the jobs that are open; returns how many.

    From then on nothing is submitted. What Vertex finished is paid for, so it is collected and delivered; a job that is
    being created at this moment is found by the next sweep. A run that its producer has not sent in full ends at once.
    """
    records.put(bucket, names.cancelled(known.run), Cancelled(records.now()))
    if _is_cut_short(known):
        wish = records.get(bucket, names.cancelled(known.run), Cancelled)
        state = "expired" if wish.reason else "cancelled"
        ingest.abort(bucket, known.run, f"{wish.words} before it was submitted", state)
    open_jobs = [name for place in open_places(known) if (name := _job(bucket, known.run, place))]
    for name in open_jobs:
        _ask(jobs, name)
    return len(open_jobs)


def is_due(known: RunFacts) -> bool:
    """Whether a run that is cancelled has something left to cancel."""
    return known.cancelled and bool(open_places(known) or _is_cut_short(known))


def open_places(known: RunFacts) -> list[tuple[int, int]]:
    """Return the attempts whose job has not ended."""
    return [place for place, shard in sorted(known.shards.items()) if shard.job and not shard.ended]


def has_waited(bucket: Bucket, known: RunFacts, seconds: float) -> bool:
    """Whether jobs of a run are open so many seconds after it was to end, by the bucket's clock."""
    wish = bucket.find(names.cancelled(known.run)) if known.cancelled and open_places(known) else None
    return wish is not None and records.age(bucket, wish, names.folder(known.run) + "clock") > seconds


def is_past_deadline(bucket: Bucket, known: RunFacts) -> bool:
    """Whether a run that nobody has ended yet has been open for longer than it may, by the bucket's clock."""
    if known.manifest is None or not known.manifest.deadline or known.cancelled or known.reported:
        return False
    opened = bucket.find(names.manifest(known.run))
    age = records.age(bucket, opened, names.folder(known.run) + "clock") if opened else 0.0
    return age > known.manifest.deadline


def expire(bucket: Bucket, run: str) -> None:
    """Write down that a run is to end, as its deadline has passed; ``cancel`` does the rest."""
    records.put(bucket, names.cancelled(run), Cancelled(records.now(), DEADLINE))


def ended(bucket: Bucket, run: str, job: Job) -> Ended:
    """Return how a job ended, as a fact: rows of one that was cancelled for a reason fail for that."""
    wish = find(bucket, run) if job.state == "JOB_STATE_CANCELLED" else None
    if wish is None or not wish.reason:
        return Ended(job, records.now())
    return Ended(msgspec.structs.replace(job, error_message=wish.words), records.now(), wish.reason)


def ended_by_hand(bucket: Bucket, run: str, name: str) -> Ended:
    """Return the end of a job of a cancelled run that does not come to its own end."""
    wish = records.get(bucket, names.cancelled(run), Cancelled)
    job = Job(name, "JOB_STATE_CANCELLED", error_message=wish.words)
    return Ended(job, records.now(), wish.reason, by_hand=True)


def find(bucket: Bucket, run: str) -> Cancelled | None:
    """Return the wish that a run end, if there is one."""
    try:
        return records.get(bucket, names.cancelled(run), Cancelled)
    except NotFound:
        return None


def _is_cut_short(known: RunFacts) -> bool:
    return known.plan is None and not known.is_whole


def _job(bucket: Bucket, run: str, place: tuple[int, int]) -> str:
    return records.get(bucket, names.shard(run, *place) + "job.json", Created).name


def _ask(jobs: BatchJobs, name: str) -> None:
    try:
        jobs.cancel(name)
    except NotFound:
        return
