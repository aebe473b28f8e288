"""``promptmill beat``."""

from pathlib import Path
from typing import Annotated

import typer

from promptmill.cli import processes
from promptmill.cli.help_text import add_help

Schedule = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File for the times of the last runs. Default: none."),
]


@add_help(
    """
    It schedules the sweep that `promptmill reconcile` runs once. Other options are
    passed on to `celery beat`.

    \b
    Examples:
      promptmill beat
    """
)
def beat(ctx: typer.Context, schedule: Schedule = None) -> None:
    """Run Celery beat, one process for all workers."""
    settings = processes.load_process_settings("worker", *processes.WORKER_MODULES)
    celery_options = beat_arguments(schedule, settings.log_level)
    processes.replace_process([*processes.celery_command(), *celery_options, *ctx.args])


def beat_arguments(schedule: Path | None, log_level: str) -> list[str]:
    """Return the arguments of ``celery beat``."""
    # All tasks are due every few seconds, so beat needs no file by default.
    scheduler = ("-s", str(schedule)) if schedule else ("--scheduler", "celery.beat:Scheduler")
    return ["beat", *scheduler, "--loglevel", log_level]
