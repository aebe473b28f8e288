"""``promptmill reconcile``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import entry_points, output
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import Record, RowFormat

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")]


@add_help(
    """
    Re-queues stalled steps, restores state that Redis lost, adopts untracked jobs and
    cancels duplicates. Beat runs the same sweep continuously.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill reconcile --dry-run
      promptmill reconcile --format jsonl
    """
)
def reconcile(dry_run: DryRun = False, output_format: RowFormatOption = RowFormat.table) -> None:
    """Find and repair stalled work."""
    output.write_listing(_finding_rows(dry_run), output_format, "No problems found.")


def _finding_rows(dry_run: bool) -> Iterator[Record]:
    for finding in entry_points.call_entry_point("reconcile", dry_run=dry_run):
        yield {"run": finding.run, "finding": finding.message}
