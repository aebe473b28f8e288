"""``promptmill reconcile``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import bucket, output
from promptmill.cli.arguments import RowsFormat
from promptmill.cli.output import Format, Record


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(reconcile)


def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    form: RowsFormat = Format.table,
) -> None:
    """Compare what is with what should be, and mend it.

    Sends what stands still, brings back what Redis lost, adopts jobs that nobody knows of and cancels duplicates, as
    beat has the workers do all the time. Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill reconcile --dry-run
    promptmill reconcile --format jsonl
    """
    if form is not Format.table:
        output.write(_findings(dry_run), form)
    elif rows := list(_findings(dry_run)):
        output.to_stdout().print(output.table(rows))
    else:
        typer.echo("everything is as it should be", err=True)


def _findings(dry_run: bool) -> Iterator[Record]:
    for finding in bucket.call("reconcile", dry_run=dry_run):
        yield {"run": finding.run, "finding": finding.words}
