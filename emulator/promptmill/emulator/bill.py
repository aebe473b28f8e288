"""The bill: what Google would have charged for.

Failed requests are free. Rows that an output fault drops are billed.
"""

import re
from collections import Counter

from .jobs import Job, state_at
from .json_types import JsonObject

LOCATION_FACTOR = 1.1
"""Outside `global`, Gemini 3 and later cost 10 % more (Google's pricing page, from 2026-07-01)."""
_GENERATION = re.compile(r"gemini-(\d+)")


def compute_bill(jobs: list[Job], now: float) -> JsonObject:
    """Return the bill of all jobs, deleted ones included."""
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
    """Return the bill as one line of text."""
    billed = sum(_count_billed(job) for job in jobs)
    return f"promptmill emulator: {len(jobs)} jobs created, {billed} requests billed"


def find_price_factor(job: Job) -> float:
    """Return by how much the location of a job multiplies the prices of its model."""
    generation = _GENERATION.match(job.spec.model.rpartition("/")[2])
    is_recent = generation is not None and int(generation[1]) >= 3
    return LOCATION_FACTOR if is_recent and job.location != "global" else 1.0


def _count_billed(job: Job) -> int:
    return job.outcome.billed if job.outcome else 0


def _describe_job(job: Job, now: float) -> JsonObject:
    return {
        "id": job.id,
        "name": job.name,
        "displayName": job.spec.display_name,
        "labels": job.spec.labels,
        "requests": _count_billed(job),
        "inputTokens": job.outcome.input_tokens if job.outcome else 0,
        "outputTokens": job.outcome.output_tokens if job.outcome else 0,
        "priceFactor": find_price_factor(job),
        "state": state_at(job, now),
        "deleted": job.deleted,
    }
