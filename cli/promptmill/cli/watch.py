"""``promptmill watch``."""

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import exit_codes, output, progress, run_views
from promptmill.cli.help_text import add_help

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from promptmill.producers import Run

SHOWN_RUNS = 20
REFRESH_SECONDS = 1.0

RunId = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]", help="Run id, or a unique prefix of it. Default: the newest runs."
    ),
]


@add_help(
    """
    Ends with the run, or at Ctrl-C.

    \b
    Examples:
      promptmill watch
      promptmill watch 01kq
    """
)
def watch(run_id: RunId = "") -> None:
    """Show the progress of one run or of the newest runs."""
    from promptmill.producers import Promptmill

    console = output.stdout_console()
    if not run_id:
        typer.echo("Ctrl-C stops watching", err=True)
        with exit_codes.exit_on_interrupt("the runs continue"):
            _watch_newest(console)
    selected_run = Promptmill().get(run_id)
    if console.is_terminal:
        _watch_run(console, selected_run)
    else:
        progress.wait_for_run(selected_run)


def _watch_run(console: "Console", run: "Run") -> None:
    from rich.live import Live

    message = f"the run continues; follow it with: promptmill watch {run.id}"
    with (
        exit_codes.exit_on_interrupt(message),
        Live(console=console, auto_refresh=False) as live,
    ):
        final_status = run.wait(
            on_status=lambda status: live.update(run_views.render_status(status), refresh=True)
        )
    if code := exit_codes.code_for_status(final_status):
        raise typer.Exit(code)


def _watch_newest(console: "Console") -> None:
    from rich.live import Live

    if not console.is_terminal:
        _print_changes(console)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_newest_table(), refresh=True)
            time.sleep(REFRESH_SECONDS)


def _newest_table() -> "RenderableType":
    rows = run_views.overview_rows(SHOWN_RUNS)
    return output.build_table(rows) if rows else "no runs yet"


def _print_changes(console: "Console") -> None:
    from promptmill.producers import Promptmill

    mill = Promptmill()
    lines_by_run: dict[str, progress.StatusLines] = {}
    while True:
        for run in mill.runs(SHOWN_RUNS):
            status_lines = lines_by_run.setdefault(
                run.id, progress.StatusLines(partial(console.print, run.id))
            )
            if not status_lines.is_finished:
                status_lines.update_status(run.status)
        time.sleep(REFRESH_SECONDS)
