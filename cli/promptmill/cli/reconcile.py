"""``promptmill reconcile``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import Record, RowFormat


def reconcile(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be done.")
    ] = False,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """Find and repair stalled work.

    Re-queues stalled steps, restores state that Redis lost, adopts untracked jobs and
    cancels duplicates. Beat runs the same sweep continuously.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill reconcile --dry-run
      promptmill reconcile --format jsonl
    """
    if output_format is not RowFormat.table:
        output.write_records(_finding_rows(dry_run), output_format)
    elif rows := list(_finding_rows(dry_run)):
        output.stdout_console().print(output.build_table(rows))
    else:
        typer.echo("No problems found.", err=True)


def _finding_rows(dry_run: bool) -> Iterator[Record]:
    for finding in entry_points.call_entry_point("reconcile", dry_run=dry_run):
        yield {"run": finding.run, "finding": finding.message}
