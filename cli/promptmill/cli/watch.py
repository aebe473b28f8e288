"""``promptmill watch``."""

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import exit_codes, output, progress, runs
from promptmill.cli.submit import wait_for_run

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from promptmill.producers import Run

SHOWN_RUNS = 20
REFRESH_SECONDS = 1.0


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(watch)


def watch(
    run_id: Annotated[
        str, typer.Argument(metavar="[RUN]", help="The run's id, or how it starts; else all runs.")
    ] = "",
) -> None:
    """Show a run as it goes on.

    One run until it is done, or the newest runs until Ctrl-C.

    \b
    promptmill watch
    promptmill watch 01kq
    """
    from promptmill.producers import Promptmill

    console = output.stdout_console()
    if not run_id:
        with exit_codes.exit_on_interrupt("the runs go on"):
            _watch_newest(console)
    selected_run = Promptmill().get(run_id)
    if console.is_terminal:
        with exit_codes.exit_on_interrupt(
            f"the run goes on; follow it with: promptmill watch {selected_run.id}"
        ):
            _watch_run(console, selected_run)
    else:
        wait_for_run(selected_run, None)


def _watch_run(console: "Console", run: "Run") -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        final_status = run.wait(
            on_status=lambda status: live.update(runs.render_status(status), refresh=True)
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
    rows = runs.overview_rows(SHOWN_RUNS)
    return output.build_table(rows) if rows else "no run is known here"


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
