"""Reads the abandoned jobs, which did not stop in time or were ended by an operator.

Vertex may still bill them. Their late answers are stored apart from the results of the run.
"""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder
from promptmill.workers.ports.google import BatchJobs, Bucket, Job, ObjectInfo
from promptmill.workers.supervision.decisions import AbandonedJob


def load_abandoned(bucket: Bucket, jobs: BatchJobs) -> Iterator[AbandonedJob]:
    """Yield the abandoned jobs whose attempt is settled."""
    for marker in bucket.list(names.ABANDONED_JOBS):
        run, shard, attempt = marker.name.removeprefix(names.ABANDONED_JOBS).split("/")
        folder = RunFolder(bucket, run).attempt(int(shard), int(attempt))
        if folder.settled.exists():
            yield _load_job(jobs, folder, marker)


def _load_job(jobs: BatchJobs, folder: AttemptFolder, marker: ObjectInfo) -> AbandonedJob:
    ended = folder.ended.get()
    return AbandonedJob(
        folder.run.id,
        folder.shard,
        folder.number,
        marker.name,
        ended.by_hand,
        folder.object_age(marker),
        _find_job(jobs, ended.job.name),
    )


def _find_job(jobs: BatchJobs, name: str) -> Job | None:
    try:
        return jobs.get(name)
    except NotFound:
        return None
