"""Ends a run with what it has: nothing more is submitted, jobs under way are asked to stop, finished rows are kept."""

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.workers import facts
from promptmill.workers.facts import Cancelled, Created, RunFacts
from promptmill.workers.ports import BatchJobs, Bucket
from promptmill.workers.steps import ingest


def cancel(bucket: Bucket, jobs: BatchJobs, known: RunFacts) -> int:
    """Write down the wish, and ask Vertex to cancel the jobs that are open; returns how many.

    From then on nothing is submitted. What Vertex finished is paid for, so it is collected and delivered; a job that is
    being created at this moment is found by the next sweep. A run that its producer has not sent in full ends at once.
    """
    facts.put(bucket, names.cancelled(known.run), Cancelled(facts.now()))
    if known.plan is None and not known.is_whole:
        ingest.abort(bucket, known.run, "cancelled before it was submitted", "cancelled")
    open_jobs = [name for place in open_places(known) if (name := _job(bucket, known.run, place))]
    for name in open_jobs:
        _ask(jobs, name)
    return len(open_jobs)


def open_places(known: RunFacts) -> list[tuple[int, int]]:
    """Return the attempts whose job has not ended."""
    return [place for place, shard in sorted(known.shards.items()) if shard.job and not shard.ended]


def _job(bucket: Bucket, run: str, place: tuple[int, int]) -> str:
    return facts.get(bucket, names.shard(run, *place) + "job.json", Created).name


def _ask(jobs: BatchJobs, name: str) -> None:
    try:
        jobs.cancel(name)
    except NotFound:
        return
