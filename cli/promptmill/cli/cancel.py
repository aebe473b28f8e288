"""``promptmill cancel``."""

import time
from typing import Annotated

import typer

from promptmill.cli import status_text
from promptmill.cli.options import RunId
from promptmill.cli.submit import wait_for_run


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(cancel)


def cancel(
    run_id: RunId,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; the exit code says how it went.")
    ] = False,
) -> None:
    """End a run with what it has.

    Nothing more is submitted, and jobs under way are asked to stop. Rows that Vertex has finished are paid for, so they
    are kept and delivered; all others end as failures with the reason JOB_CANCELLED.

    \b
    promptmill cancel 01kq
    promptmill cancel 01kq --wait
    """
    from promptmill.producers import Promptmill

    selected_run = Promptmill().get(run_id)
    status = selected_run.status
    if status.done:
        typer.echo(
            f"nothing is left to cancel. {status_text.describe_status(status, time.time())}",
            err=True,
        )
        return
    selected_run.cancel()
    typer.echo(
        f"run {selected_run.id} is being cancelled; what is finished is kept and delivered",
        err=True,
    )
    if wait:
        wait_for_run(selected_run, None)
