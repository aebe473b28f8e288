"""``promptmill beat``."""

from pathlib import Path
from typing import Annotated

import typer

from promptmill.cli import processes


def beat(
    ctx: typer.Context,
    schedule: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File for the times of the last runs. Default: none."),
    ] = None,
) -> None:
    """Run Celery beat, one process for all workers.

    It schedules the sweep that `promptmill reconcile` runs once. Other options are
    passed on to `celery beat`.

    \b
    Examples:
      promptmill beat
    """
    settings = processes.load_process_settings("worker", *processes.WORKER_MODULES)
    celery_options = beat_arguments(schedule, settings.log_level)
    processes.replace_process([*processes.celery_command(), *celery_options, *ctx.args])


def beat_arguments(schedule: Path | None, log_level: str) -> list[str]:
    """Return the arguments of ``celery beat``.

    All tasks are due every few seconds, so beat needs no file by default.
    """
    schedule_options = (
        ("-s", str(schedule)) if schedule else ("--scheduler", "celery.beat:Scheduler")
    )
    return ["beat", *schedule_options, "--loglevel", log_level]
