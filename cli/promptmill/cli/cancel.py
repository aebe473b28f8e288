"""``promptmill cancel``."""

import time

import typer

from promptmill.cli import progress, status_text
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RunId, Wait


@add_help(
    """
    Submits nothing more and cancels the running jobs. Rows that Vertex has completed
    are billed, so they are kept and delivered. All others fail with reason
    JOB_CANCELLED.

    \b
    Examples:
      promptmill cancel 01kq
      promptmill cancel 01kq --wait
    """
)
def cancel(run_id: RunId, wait: Wait = False) -> None:
    """Cancel a run and keep its answers so far."""
    from promptmill.producers import Promptmill

    selected_run = Promptmill().get(run_id)
    status = selected_run.status
    if status.done:
        ending = status_text.describe_status(status, time.time())
        typer.echo(f"the run has already ended. {ending}", err=True)
        return
    selected_run.cancel()
    typer.echo(f"cancelling run {selected_run.id}; completed rows are kept and delivered", err=True)
    if wait:
        progress.wait_for_run(selected_run)
