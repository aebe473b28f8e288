"""Describes the status of a run in sentences."""

from promptmill.config import spans
from promptmill.producers.contract.status import RunStatus


def describe_status(run: RunStatus, now: float) -> str:
    """Return a sentence about a run at ``now`` (seconds since the epoch)."""
    if run.done:
        return _describe_ended_run(run)
    if run.state == "unreadable":
        return f"The state of the run is unknown: {run.error}."
    age = spans.format_duration(now - run.created)
    return f"{_describe_open_run(run)}, {age} after the start of the run."


def format_progress(run: RunStatus) -> str:
    """Return the counts of a run for a progress line."""
    jobs = f", {format_count(run.jobs, 'job')}" if run.jobs else ""
    failed = f", {run.failed:,} failed" if run.failed else ""
    return f"{run.succeeded + run.failed:,} of {run.requests:,} done{failed}{jobs}"


def format_count(count: int, noun: str) -> str:
    """Return a count and its noun, in the plural if needed."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def format_duration(run: RunStatus) -> str:
    """Return how long a completed run took; "" if unknown."""
    return (
        f" in {spans.format_duration(run.ended - run.created)}" if run.ended > run.created else ""
    )


def _describe_open_run(run: RunStatus) -> str:
    requests, jobs = format_count(run.requests, "request"), format_count(run.jobs, "job")
    match run.state:
        case "open" if run.requests:
            return f"All {requests} are sent and are being stored in the bucket"
        case "open":
            return "Requests are still being sent"
        case "submitting":
            created = f"{run.jobs:,} of {len(run.shards):,} so far"
            return f"{requests} wait for the creation of their jobs ({created})"
        case "queued":
            return f"{jobs} with {requests} in Vertex AI's queue"
        case "running":
            return f"Vertex AI is running {jobs}: {format_progress(run)}"
        case "cancelling":
            return f"The run is being cancelled: {format_progress(run)}"
        case _:
            return f"Vertex AI is done; answers are being delivered: {format_progress(run)}"


def _format_sentence(error: str) -> str:
    """Return an error as a sentence to append, or "". A name or URL keeps its case."""
    starts_with_word = error.partition(" ")[0].isalpha()
    start = error[:1].upper() if starts_with_word else error[:1]
    return f" {start}{error[1:].rstrip('.')}." if error else ""


def _format_all(count: int) -> str:
    return "The request" if count == 1 else f"All {count:,} requests"


def _describe_ended_run(run: RunStatus) -> str:
    error = _format_sentence(run.error)
    succeeded = f"{run.succeeded:,} of {format_count(run.requests, 'request')}"
    match run.state:
        case "succeeded":
            return f"{_format_all(run.requests)} succeeded{format_duration(run)}."
        case "partially_succeeded":
            return f"{succeeded} succeeded and {run.failed:,} failed{format_duration(run)}.{error}"
        case "failed":
            return f"The run failed: {succeeded} succeeded.{error}"
        case "expired":
            return f"The run expired with {format_progress(run)}.{error}"
        case _:
            return f"The run was {run.state} with {format_progress(run)}.{error}"
