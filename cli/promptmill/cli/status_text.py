"""A run in plain words."""

from promptmill.config import spans
from promptmill.producers.contract.status import RunStatus


def describe_status(run: RunStatus, now: float) -> str:
    """Return one sentence that says where a run stands at ``now`` (seconds since the epoch)."""
    return (
        _describe_ended_run(run)
        if run.done
        else f"{_describe_open_run(run)}, {spans.format_duration(now - run.created)} after the run was opened."
    )


def format_progress(run: RunStatus) -> str:
    """Return the counts of a run in a few words, for a progress line."""
    jobs = f", {format_count(run.jobs, 'job')}" if run.jobs else ""
    failed = f", {run.failed:,} failed" if run.failed else ""
    return f"{run.succeeded + run.failed:,} of {run.requests:,} done{failed}{jobs}"


def format_count(count: int, noun: str) -> str:
    """Return ``count`` and the noun in the right number."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def format_duration(run: RunStatus) -> str:
    """Return how long a finished run took, "" when that is not known."""
    return (
        f" in {spans.format_duration(run.ended - run.created)}" if run.ended > run.created else ""
    )


def _describe_open_run(run: RunStatus) -> str:
    requests, jobs = format_count(run.requests, "request"), format_count(run.jobs, "job")
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
            return f"Vertex AI is at work on {jobs}: {format_progress(run)}"
        case "cancelling":
            return f"It is being cancelled: {format_progress(run)}"
        case _:
            return f"Vertex AI is done and answers are being delivered: {format_progress(run)}"


def _describe_ended_run(run: RunStatus) -> str:
    error = f" {run.error.rstrip('.')}." if run.error else ""
    match run.state:
        case "succeeded":
            return f"All {format_count(run.requests, 'request')} succeeded{format_duration(run)}."
        case "partially_succeeded":
            counts = f"{run.succeeded:,} of {format_count(run.requests, 'request')} succeeded and {run.failed:,} failed"
            return f"{counts}{format_duration(run)}.{error}"
        case "failed":
            return f"The run failed: {run.succeeded:,} of {format_count(run.requests, 'request')} succeeded.{error}"
        case "expired":
            return f"The run expired with {format_progress(run)}.{error}"
        case _:
            return f"The run was {run.state} with {format_progress(run)}.{error}"
