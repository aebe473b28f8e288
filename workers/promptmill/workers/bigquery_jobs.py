"""Brings jobs of BigQuery's through, each of them once, however often that is asked for and by however many."""

import hashlib
import itertools
import time
from collections.abc import Callable

from promptmill.config import names
from promptmill.config.errors import Permanent, Transient
from promptmill.config.tables import Table
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.facts import records
from promptmill.workers.ports.google import Bucket
from promptmill.workers.ports.warehouse import JobState, TableJob, Warehouse

PATIENCE = 20.0
"""Seconds for which a worker stays with a job; one that takes longer is looked at again by a later try."""
_PAUSE = 0.5
_PASSING = frozenset(
    {
        "backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "quotaExceeded",
        "rateLimitExceeded", "resourcesExceeded", "stopped", "tableUnavailable", "timeout",
    }
)  # fmt: skip
"""Reasons of failed jobs that a new job may not meet (https://cloud.google.com/bigquery/docs/error-messages)."""
_OVERTAKEN = "concurrent update"
"""BigQuery's words when two statements change one table, under the reason invalidQuery."""
_MAY_QUOTE_ROWS = frozenset({"invalid", "invalidQuery", "invalidUser"})
"""Reasons whose messages may show values of rows, which are not for logs."""


def mark(bucket: Bucket, run: str) -> str:
    """Return what tells this run's jobs and tables from those of every other, of other mills and other times too.

    An id that follows from an idempotency key is the same in another mill, and once more when the run was deleted.
    """
    created = records.get(bucket, names.manifest(run), Manifest).created
    return f"{run}-{hashlib.sha256(f'{bucket.url} {created}'.encode()).hexdigest()[:8]}"


def bring_through(
    warehouse: Warehouse, name: str, table: Table, begin: Callable[[TableJob], None], patience: float = PATIENCE
) -> None:
    """See that one job of this ``name`` succeeds: find it, or ``begin`` it; after one that failed, the next of its name.

    Raises Transient while it is under way, and when it failed for a reason that may pass; Permanent for any other.
    """
    for number in itertools.count():
        job = TableJob(f"promptmill-{name}-{number}", table)
        state = warehouse.look(job)
        begun = state is None
        if begun:
            begin(job)
        state = _await(warehouse, job, state, patience)
        if not state.reason:
            return
        if begun:
            raise _error(job, state)


def _await(warehouse: Warehouse, job: TableJob, state: JobState | None, patience: float) -> JobState:
    until = time.monotonic() + patience
    while state is None or not state.done:
        if time.monotonic() > until:
            raise Transient(f"job {job.id} of BigQuery is still under way")
        time.sleep(min(_PAUSE, patience / 10))
        state = warehouse.look(job)
    return state


def _error(job: TableJob, state: JobState) -> Transient | Permanent:
    quoting = state.reason in _MAY_QUOTE_ROWS and _OVERTAKEN not in state.message
    words = f"see `bq show -j {job.id}`" if quoting else state.message
    passing = state.reason in _PASSING or _OVERTAKEN in state.message
    return (Transient if passing else Permanent)(f"job {job.id} of BigQuery failed: {state.reason}: {words}")
