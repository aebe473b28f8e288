"""Brings jobs of BigQuery's through, each of them once, however often that is asked for and by however many."""

import hashlib
import itertools
import time
from collections.abc import Callable

from promptmill.config.errors import Permanent, Transient
from promptmill.config.tables import Table
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.warehouse import BigQueryJob, BigQueryJobState, Warehouse

JOB_TIMEOUT = 20.0
"""Seconds for which a worker stays with a job; one that takes longer is looked at again by a later try."""
_POLL_SECONDS = 0.5
_TRANSIENT_REASONS = frozenset(
    {
        "backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "quotaExceeded",
        "rateLimitExceeded", "resourcesExceeded", "stopped", "tableUnavailable", "timeout",
    }
)  # fmt: skip
"""Reasons of failed jobs that a new job may not meet (https://cloud.google.com/bigquery/docs/error-messages)."""
_CONCURRENT_UPDATE = "concurrent update"
"""BigQuery's words when two statements change one table, under the reason invalidQuery."""
_MAY_QUOTE_ROWS = frozenset({"invalid", "invalidQuery", "invalidUser"})
"""Reasons whose messages may show values of rows, which are not for logs."""


def unique_run_name(run: RunFolder) -> str:
    """Return the run's id, made unique among deployments and deleted runs.

    The id alone is not: one that follows from an idempotency key repeats.
    """
    created = run.manifest.get().created
    return f"{run.id}-{hashlib.sha256(f'{run.bucket.url} {created}'.encode()).hexdigest()[:8]}"


def run_job(
    warehouse: Warehouse,
    name: str,
    table: Table,
    submit: Callable[[BigQueryJob], None],
    timeout: float = JOB_TIMEOUT,
) -> None:
    """See that one job of this ``name`` succeeds: find it, or ``submit`` it; after one that failed, the next of its name.

    Raises Transient while it is under way, and when it failed for a reason that may pass; Permanent for any other.
    """
    for number in itertools.count():
        job = BigQueryJob(f"promptmill-{name}-{number}", table)
        state = warehouse.get_job_state(job)
        is_new = state is None
        if is_new:
            submit(job)
        state = _wait_for_job(warehouse, job, state, timeout)
        if not state.reason:
            return
        if is_new:
            raise _job_error(job, state)


def _wait_for_job(
    warehouse: Warehouse, job: BigQueryJob, state: BigQueryJobState | None, timeout: float
) -> BigQueryJobState:
    deadline = time.monotonic() + timeout
    while state is None or not state.done:
        if time.monotonic() > deadline:
            raise Transient(f"job {job.id} of BigQuery is still under way")
        time.sleep(min(_POLL_SECONDS, timeout / 10))
        state = warehouse.get_job_state(job)
    return state


def _job_error(job: BigQueryJob, state: BigQueryJobState) -> Transient | Permanent:
    may_quote_rows = state.reason in _MAY_QUOTE_ROWS and _CONCURRENT_UPDATE not in state.message
    message = f"see `bq show -j {job.id}`" if may_quote_rows else state.message
    is_transient = state.reason in _TRANSIENT_REASONS or _CONCURRENT_UPDATE in state.message
    return (Transient if is_transient else Permanent)(
        f"job {job.id} of BigQuery failed: {state.reason}: {message}"
    )
