"""``promptmill validate``."""

from typing import TYPE_CHECKING

import typer

from promptmill.cli import arguments, output, words
from promptmill.cli.arguments import RowsFormat
from promptmill.cli.output import Format

if TYPE_CHECKING:
    from promptmill.producers import Validation

SOME, ALL = 3, 4
"""Exit codes, as of a run that would succeed partly, or not at all."""


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(validate)


def validate(
    file: arguments.File,
    template: arguments.Template = None,
    key: arguments.Key = None,
    metadata: arguments.Metadata = None,
    media: arguments.Media = None,
    media_type: arguments.MediaType = None,
    system: arguments.System = None,
    config: arguments.Config = None,
    form: RowsFormat = Format.table,
) -> None:
    """List the rows of a file that cannot be sent, and why.

    Looks at every row as submit would, but spends nothing, and needs no Redis.
    Exit codes: 0 every row can be sent, 3 some cannot, 4 the run would be refused as a whole.

    \b
    promptmill validate prompts.jsonl
    promptmill validate reviews.csv --template @prompt.txt --key review_id --format jsonl
    """
    from promptmill.producers import Promptmill

    rows = arguments.row_options(template, key, metadata, media, media_type, system, config)
    seen = Promptmill().validate(file, **rows)
    if seen.findings or form is not Format.table:
        output.write(({"row": one.row, "key": one.key, "reason": one.reason} for one in seen.findings), form)
    _tell(seen)
    if not seen.ok:
        raise typer.Exit(ALL if seen.stops else SOME)


def _tell(seen: "Validation") -> None:
    if seen.found > len(seen.findings):
        typer.echo(f"{seen.found - len(seen.findings):,} more findings are not shown", err=True)
    rows = words.plural(seen.rows, "row")
    if seen.stops:
        told = f"{words.plural(seen.found, 'finding')} in {rows}; the run would be refused as a whole"
    elif seen.found:
        told = f"{seen.found:,} of {rows} would not be sent; the rest of the run would go on"
    else:
        told = f"{rows}, and all can be sent"
    typer.echo(told, err=True)
