"""Django integration: submit a run when the current transaction commits."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Unpack

from django.db import transaction

from promptmill.producers.client import Promptmill
from promptmill.producers.requests.encode import Prompt
from promptmill.producers.run import Run
from promptmill.producers.run_options import RowRunOptions, RunOptions


def submit_on_commit(
    prompts: Iterable[Prompt],
    *,
    using: str | None = None,
    mill: Promptmill | None = None,
    on_run: Callable[[Run], object] | None = None,
    **options: Unpack[RunOptions],
) -> None:
    """Call ``Promptmill.submit(prompts, **options)`` when the transaction commits.

    ``using`` names the database. A rollback submits nothing. Without a transaction the
    run is submitted immediately. ``prompts`` are read at commit, one at a time, so a
    generator over ``QuerySet.iterator()`` takes little memory. ``on_run`` receives the
    run, for example to save its id.

    The commit raises the errors of ``submit``, after the rows have been saved. A
    process that dies in between has submitted nothing. With an ``idempotency_key`` the
    call can be repeated safely.
    """
    _call_on_commit(lambda: (mill or Promptmill()).submit(prompts, **options), on_run, using)


def submit_rows_on_commit(
    rows: object,
    *,
    template: str | Path,
    using: str | None = None,
    mill: Promptmill | None = None,
    on_run: Callable[[Run], object] | None = None,
    **options: Unpack[RowRunOptions],
) -> None:
    """Call ``Promptmill.submit_rows(rows, **options)`` when the transaction commits.

    See ``submit_on_commit``.
    """

    def submit_run() -> Run:
        return (mill or Promptmill()).submit_rows(rows, template=template, **options)

    _call_on_commit(submit_run, on_run, using)


def _call_on_commit(
    submit_run: Callable[[], Run], on_run: Callable[[Run], object] | None, using: str | None
) -> None:
    def submit_and_report() -> None:
        run = submit_run()
        if on_run:
            on_run(run)

    transaction.on_commit(submit_and_report, using=using)
