"""Runs BigQuery jobs. Each succeeds once, even if several workers ask for it repeatedly."""

import hashlib
import itertools
import time
from collections.abc import Callable

from promptmill.config.errors import Permanent, Transient
from promptmill.config.tables import Table
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.warehouse import BigQueryJob, BigQueryJobState, Warehouse

JOB_TIMEOUT = 20.0
"""Seconds for which a worker waits for a job. A later attempt checks a job that takes longer."""
_POLL_SECONDS = 0.5
_TRANSIENT_REASONS = frozenset(
    {
        "backendError",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "quotaExceeded",
        "rateLimitExceeded",
        "resourcesExceeded",
        "stopped",
        "tableUnavailable",
        "timeout",
    }
)
"""Reasons of failures that are transient: https://cloud.google.com/bigquery/docs/error-messages"""
_CONCURRENT_UPDATE = "concurrent update"
"""BigQuery's message if two statements change one table; its reason is invalidQuery."""
_MAY_QUOTE_ROWS = frozenset({"invalid", "invalidQuery", "invalidUser"})
"""Reasons whose messages may quote values of rows, which must not be logged."""


def unique_run_name(run: RunFolder) -> str:
    """Return the run's id, made unique among deployments and deleted runs."""
    # The id alone is not unique: an id derived from an idempotency key repeats.
    created = run.manifest.get().created
    return f"{run.id}-{hashlib.sha256(f'{run.bucket.url} {created}'.encode()).hexdigest()[:8]}"


def run_job(
    warehouse: Warehouse,
    name: str,
    table: Table,
    submit: Callable[[BigQueryJob], None],
    timeout: float = JOB_TIMEOUT,
) -> None:
    """Make sure that one job called ``name`` succeeds.

    Finds the job or submits it. If it failed earlier, submits the next one of its name.
    Raises Transient while the job runs or if it failed for a transient reason, Permanent
    for any other reason.
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
            raise Transient(
                f"BigQuery job {job.id} is still running after {timeout:g} s; checking again later"
            )
        time.sleep(min(_POLL_SECONDS, timeout / 10))
        state = warehouse.get_job_state(job)
    return state


def _job_error(job: BigQueryJob, state: BigQueryJobState) -> Transient | Permanent:
    may_quote_rows = state.reason in _MAY_QUOTE_ROWS and _CONCURRENT_UPDATE not in state.message
    message = f"see `bq show -j {job.id}`" if may_quote_rows else state.message
    is_transient = state.reason in _TRANSIENT_REASONS or _CONCURRENT_UPDATE in state.message
    return (Transient if is_transient else Permanent)(
        f"BigQuery job {job.id} failed: {state.reason}: {message}"
    )
