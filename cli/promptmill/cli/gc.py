"""``promptmill gc``."""

from collections.abc import Iterator
from typing import Annotated

import typer

from promptmill.cli import bucket, output, words
from promptmill.cli.arguments import RowsFormat, moment, span
from promptmill.cli.output import Format, Record

SHORTEST = 86_400.0
"""Seconds; a copy of a message may come late, and would begin a run again that it does not find."""


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(gc)


def gc(
    older_than: Annotated[
        float,
        typer.Option(metavar="SPAN", parser=span, help="Such as 30d: only runs that ended longer ago; 1d at least."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    form: RowsFormat = Format.table,
) -> None:
    """Delete what the bucket holds of runs that ended long ago.

    Prompts, answers and reports; what sinks have is theirs. Open runs stay, and those that have a dead letter or a job
    that may yet end. An idempotency key of a run that was deleted makes a new one.

    Needs access to the bucket, and leave to delete: pip install 'promptmill[worker]'.

    \b
    promptmill gc --older-than 30d --dry-run
    promptmill gc --older-than 90d
    """
    if older_than < SHORTEST:
        raise typer.BadParameter("a run is kept for 1d at least", param_hint="--older-than")
    rows = _deleted(older_than, dry_run)
    if form is not Format.table:
        output.write(rows, form)
    elif found := list(rows):
        output.to_stdout().print(output.table(found))
        typer.echo(f"{words.plural(len(found), 'run')} {'would be ' if dry_run else ''}deleted", err=True)
    else:
        typer.echo("no run is that old", err=True)


def _deleted(older_than: float, dry_run: bool) -> Iterator[Record]:
    for old in bucket.call("gc", older_than, dry_run=dry_run):
        yield {"run": old.run, "ended": moment(old.ended), "objects": old.objects, "bytes": old.size}
