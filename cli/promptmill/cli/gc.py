"""``promptmill gc``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output, status_text
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption, format_time, parse_span
from promptmill.cli.output import Record, RowFormat

MIN_AGE_SECONDS = 86_400.0
"""Minimum age of a deleted run: a late duplicate delivery would start the run again."""

OlderThan = Annotated[
    float,
    typer.Option(
        metavar="SPAN",
        parser=parse_span,
        help="Minimum time since the end of a run, such as 30d; at least 1d.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted.")]


@add_help(
    """
    Deletes prompts, answers and reports, but nothing in sinks. Keeps open runs, and
    runs with a dead letter or an unfinished job. The idempotency key of a deleted run
    creates a new run.

    Needs access to the bucket, with permission to delete: pip install
    'promptmill[worker]'.

    \b
    Examples:
      promptmill gc --older-than 30d --dry-run
      promptmill gc --older-than 90d
    """
)
def gc(
    older_than: OlderThan, dry_run: DryRun = False, output_format: RowFormatOption = RowFormat.table
) -> None:
    """Delete the objects of old runs from the bucket."""
    if older_than < MIN_AGE_SECONDS:
        raise typer.BadParameter("must be at least 1d", param_hint="--older-than")
    rows = _delete_runs(older_than, dry_run)
    if output_format is not RowFormat.table:
        output.write_records(rows, output_format)
    elif deleted_runs := list(rows):
        output.stdout_console().print(output.build_table(deleted_runs))
        _print_count(len(deleted_runs), dry_run)
    else:
        typer.echo("no run is old enough; use a shorter --older-than", err=True)


def _print_count(count: int, dry_run: bool) -> None:
    runs = status_text.format_count(count, "run")
    typer.echo(f"{runs} {'would be ' if dry_run else ''}deleted", err=True)


def _delete_runs(older_than: float, dry_run: bool) -> Iterator[Record]:
    for deleted_run in entry_points.call_entry_point("gc", older_than, dry_run=dry_run):
        yield {
            "run": deleted_run.run,
            "ended": format_time(deleted_run.ended),
            "objects": deleted_run.objects,
            "bytes": deleted_run.size,
        }
