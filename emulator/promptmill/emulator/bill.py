"""What Google would have charged for: jobs created and requests answered."""

from collections import Counter
from typing import Any

from .jobs import Job, state_at


def compute_bill(jobs: list[Job], now: float) -> dict[str, Any]:
    """The bill of all jobs, deleted ones too; requests that failed cost nothing, rows lost on the way out do."""
    by_label: Counter[str] = Counter()
    for job in jobs:
        for key, value in job.spec.labels.items():
            by_label[f"{key}={value}"] += _count_billed(job)
    return {
        "jobs": len(jobs),
        "requests": sum(_count_billed(job) for job in jobs),
        "by_label": dict(by_label),
        "jobs_detail": [_describe_job(job, now) for job in jobs],
    }


def summarize_bill(jobs: list[Job]) -> str:
    """The bill in a line."""
    return f"promptmill emulator: {len(jobs)} jobs created, {sum(_count_billed(job) for job in jobs)} requests billed"


def _count_billed(job: Job) -> int:
    return job.outcome.billed if job.outcome else 0


def _describe_job(job: Job, now: float) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "displayName": job.spec.display_name,
        "labels": job.spec.labels,
        "requests": _count_billed(job),
        "state": state_at(job, now),
        "deleted": job.deleted,
    }
