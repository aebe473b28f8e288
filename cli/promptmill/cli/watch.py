"""``promptmill watch``."""

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import exits, output, progress, runs
from promptmill.cli.submit import wait_for

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from promptmill.producers import Run

SHOWN_RUNS = 20
LOOK_EVERY = 1.0


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(watch)


def watch(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="The run's id, or how it starts; else all runs.")] = "",
) -> None:
    """Show a run as it goes on.

    One run until it is done, or the newest runs until Ctrl-C.

    \b
    promptmill watch
    promptmill watch 01kq
    """
    from promptmill.producers import Promptmill

    console = output.to_stdout()
    if not run:
        with exits.told_when_interrupted("the runs go on"):
            _watch_all(console)
    found = Promptmill().get(run)
    if console.is_terminal:
        with exits.told_when_interrupted(f"the run goes on; follow it with: promptmill watch {found.id}"):
            _watch_one(console, found)
    else:
        wait_for(found, None)


def _watch_one(console: "Console", run: "Run") -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        end = run.wait(on_status=lambda status: live.update(runs.portrait(status), refresh=True))
    if code := exits.of_status(end):
        raise typer.Exit(code)


def _watch_all(console: "Console") -> None:
    from rich.live import Live

    if not console.is_terminal:
        _print_changes(console)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_newest(), refresh=True)
            time.sleep(LOOK_EVERY)


def _newest() -> "RenderableType":
    rows = runs.overview(SHOWN_RUNS)
    return output.table(rows) if rows else "no run is known here"


def _print_changes(console: "Console") -> None:
    from promptmill.producers import Promptmill

    mill = Promptmill()
    lines: dict[str, progress.Lines] = {}
    while True:
        for run in mill.runs(SHOWN_RUNS):
            known = lines.setdefault(run.id, progress.Lines(partial(console.print, run.id)))
            if not known.ended:
                known.show(run.status)
        time.sleep(LOOK_EVERY)
