"""Reads the jobs that Vertex lists for this deployment, and the recorded ones of their attempts."""

from collections import defaultdict
from collections.abc import Iterator

from promptmill.config import names
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import BatchJobs, Bucket, Job
from promptmill.workers.supervision.decisions import AttemptJobs


def load_attempt_jobs(bucket: Bucket, jobs: BatchJobs) -> Iterator[AttemptJobs]:
    """Yield the jobs of each attempt."""
    by_attempt: dict[tuple[str, int, int], list[Job]] = defaultdict(list)
    for job in jobs.list(f'labels.promptmill="{names.deployment_id(bucket.url)}"'):
        if (attempt_ref := _parse_labels(job.labels)) is not None:
            by_attempt[attempt_ref].append(job)
    for (run, shard, attempt), attempt_jobs in sorted(by_attempt.items()):
        folder = RunFolder(bucket, run)
        created = folder.attempt(shard, attempt).job.find()
        recorded = created.name if created else None
        has_run = created is not None or folder.manifest.exists()
        yield AttemptJobs(run, shard, attempt, attempt_jobs, recorded, has_run)


def _parse_labels(labels: dict[str, str]) -> tuple[str, int, int] | None:
    try:
        return names.check_run(labels["run"]), int(labels["shard"]), int(labels["attempt"])
    except (KeyError, ValueError):
        return None
