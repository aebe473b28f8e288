"""``promptmill gc``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output, status_text
from promptmill.cli.options import RowFormatOption, format_time, parse_span
from promptmill.cli.output import Record, RowFormat

MIN_AGE_SECONDS = 86_400.0
"""Seconds; a copy of a message may come late, and would begin a run again that it does not find."""


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(gc)


def gc(
    older_than: Annotated[
        float,
        typer.Option(
            metavar="SPAN",
            parser=parse_span,
            help="Such as 30d: only runs that ended longer ago; 1d at least.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be deleted.")
    ] = False,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """Delete what the bucket holds of runs that ended long ago.

    Prompts, answers and reports; what sinks have is theirs. Open runs stay, and those that have a dead letter or a job
    that may yet end. An idempotency key of a run that was deleted makes a new one.

    Needs access to the bucket, and leave to delete: pip install 'promptmill[worker]'.

    \b
    promptmill gc --older-than 30d --dry-run
    promptmill gc --older-than 90d
    """
    if older_than < MIN_AGE_SECONDS:
        raise typer.BadParameter("a run is kept for 1d at least", param_hint="--older-than")
    rows = _delete_runs(older_than, dry_run)
    if output_format is not RowFormat.table:
        output.write_records(rows, output_format)
    elif deleted_runs := list(rows):
        output.stdout_console().print(output.build_table(deleted_runs))
        typer.echo(
            f"{status_text.format_count(len(deleted_runs), 'run')} {'would be ' if dry_run else ''}deleted",
            err=True,
        )
    else:
        typer.echo("no run is that old", err=True)


def _delete_runs(older_than: float, dry_run: bool) -> Iterator[Record]:
    for deleted_run in entry_points.call_entry_point("gc", older_than, dry_run=dry_run):
        yield {
            "run": deleted_run.run,
            "ended": format_time(deleted_run.ended),
            "objects": deleted_run.objects,
            "bytes": deleted_run.size,
        }
