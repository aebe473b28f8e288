"""A run in plain words."""

from promptmill.config import spans
from promptmill.producers.contract.status import RunStatus


def standing(run: RunStatus, now: float) -> str:
    """Return one sentence that says where a run stands at ``now`` (seconds since the epoch)."""
    return _ended(run) if run.done else f"{_under_way(run)}, {spans.show(now - run.created)} after the run was opened."


def progress(run: RunStatus) -> str:
    """Return the counts of a run in a few words, for a progress line."""
    jobs = f", {plural(run.jobs, 'job')}" if run.jobs else ""
    failed = f", {run.failed:,} failed" if run.failed else ""
    return f"{run.succeeded + run.failed:,} of {run.requests:,} done{failed}{jobs}"


def plural(count: int, noun: str) -> str:
    """Return ``count`` and the noun in the right number."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def took(run: RunStatus) -> str:
    """Return how long a finished run took, "" when that is not known."""
    return f" in {spans.show(run.ended - run.created)}" if run.ended > run.created else ""


def _under_way(run: RunStatus) -> str:
    requests, jobs = plural(run.requests, "request"), plural(run.jobs, "job")
    match run.state:
        case "open" if run.requests:
            return f"All {requests} are sent and are on their way to the bucket"
        case "open":
            return "Requests are still being sent"
        case "submitting":
            return f"{requests} wait for their jobs to be created ({run.jobs:,} of {len(run.shards):,} so far)"
        case "queued":
            return f"{jobs} with {requests} in Vertex AI's queue"
        case "running":
            return f"Vertex AI is at work on {jobs}: {progress(run)}"
        case "cancelling":
            return f"It is being cancelled: {progress(run)}"
        case _:
            return f"Vertex AI is done and answers are being delivered: {progress(run)}"


def _ended(run: RunStatus) -> str:
    error = f" {run.error.rstrip('.')}." if run.error else ""
    match run.state:
        case "succeeded":
            return f"All {plural(run.requests, 'request')} succeeded{took(run)}."
        case "partially_succeeded":
            counts = f"{run.succeeded:,} of {plural(run.requests, 'request')} succeeded and {run.failed:,} failed"
            return f"{counts}{took(run)}.{error}"
        case "failed":
            return f"The run failed: {run.succeeded:,} of {plural(run.requests, 'request')} succeeded.{error}"
        case "expired":
            return f"The run expired with {progress(run)}.{error}"
        case _:
            return f"The run was {run.state} with {progress(run)}.{error}"
