"""``promptmill reconcile``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import Record, RowFormat


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(reconcile)


def reconcile(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
    ] = False,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """Compare what is with what should be, and mend it.

    Sends what stands still, brings back what Redis lost, adopts jobs that nobody knows of and cancels duplicates, as
    beat has the workers do all the time. Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill reconcile --dry-run
    promptmill reconcile --format jsonl
    """
    if output_format is not RowFormat.table:
        output.write_records(_finding_rows(dry_run), output_format)
    elif rows := list(_finding_rows(dry_run)):
        output.stdout_console().print(output.build_table(rows))
    else:
        typer.echo("everything is as it should be", err=True)


def _finding_rows(dry_run: bool) -> Iterator[Record]:
    for finding in entry_points.call_entry_point("reconcile", dry_run=dry_run):
        yield {"run": finding.run, "finding": finding.message}
