"""For Django: runs that are submitted when the transaction around them commits, and not if it is rolled back."""

from collections.abc import Callable, Iterable
from typing import Any

from django.db import transaction

from promptmill.producers.client import Promptmill
from promptmill.producers.requests.encode import Prompt
from promptmill.producers.run import Run


def submit_on_commit(
    prompts: Iterable[Prompt],
    *,
    using: str | None = None,
    mill: Promptmill | None = None,
    on_run: Callable[[Run], object] | None = None,
    **options: Any,
) -> None:
    """Have ``Promptmill.submit(prompts, **options)`` called once the transaction of database ``using`` commits.

    ``prompts`` are read only then, one by one, so a generator over ``QuerySet.iterator()`` takes little memory. ``on_run``
    is given the run, for example to save its id. With no transaction it is submitted at once. Errors of ``submit_run`` are
    raised by the commit, when the rows are there already. A process that dies between the two has sent nothing: give an
    ``idempotency_key``, with which the same call may be made again.
    """

    def submit_run() -> None:
        run = (mill or Promptmill()).submit(prompts, **options)
        if on_run:
            on_run(run)

    transaction.on_commit(submit_run, using=using)


def submit_rows_on_commit(
    rows: Any,
    *,
    using: str | None = None,
    mill: Promptmill | None = None,
    on_run: Callable[[Run], object] | None = None,
    **options: Any,
) -> None:
    """Have ``Promptmill.submit_rows(rows, **options)`` called once the transaction commits, as ``submit_on_commit`` does."""

    def submit_run() -> None:
        client: Any = mill or Promptmill()
        run = client.submit_rows(rows, **options)
        if on_run:
            on_run(run)

    transaction.on_commit(submit_run, using=using)
