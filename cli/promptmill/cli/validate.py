"""``promptmill validate``."""

from typing import TYPE_CHECKING

import typer

from promptmill.cli import options, output, status_text
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import RowFormat

if TYPE_CHECKING:
    from promptmill.producers import Validation

SOME_INVALID, ALL_INVALID = 3, 4
"""Exit codes, as of a run that would succeed partly, or not at all."""


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(validate)


def validate(
    file: options.File,
    template: options.Template = None,
    key: options.Key = None,
    metadata: options.Metadata = None,
    media: options.Media = None,
    media_type: options.MediaType = None,
    system: options.System = None,
    config: options.Config = None,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """List the rows of a file that cannot be sent, and why.

    Looks at every row as submit would, but spends nothing, and needs no Redis.
    Exit codes: 0 every row can be sent, 3 some cannot, 4 the run would be refused as a whole.

    \b
    promptmill validate prompts.jsonl
    promptmill validate reviews.csv --template @prompt.txt --key review_id --format jsonl
    """
    from promptmill.producers import Promptmill

    rows = options.row_options(template, key, metadata, media, media_type, system, config)
    validation = Promptmill().validate(file, **rows)
    if validation.findings or output_format is not RowFormat.table:
        output.write_records(
            (
                {"row": finding.row, "key": finding.key, "reason": finding.reason}
                for finding in validation.findings
            ),
            output_format,
        )
    _print_summary(validation)
    if not validation.ok:
        raise typer.Exit(ALL_INVALID if validation.stops else SOME_INVALID)


def _print_summary(validation: "Validation") -> None:
    if validation.found > len(validation.findings):
        typer.echo(
            f"{validation.found - len(validation.findings):,} more findings are not shown", err=True
        )
    rows = status_text.format_count(validation.rows, "row")
    if validation.stops:
        summary = f"{status_text.format_count(validation.found, 'finding')} in {rows}; the run would be refused as a whole"
    elif validation.found:
        summary = (
            f"{validation.found:,} of {rows} would not be sent; the rest of the run would go on"
        )
    else:
        summary = f"{rows}, and all can be sent"
    typer.echo(summary, err=True)
