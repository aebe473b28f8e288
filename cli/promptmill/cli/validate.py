"""``promptmill validate``."""

from typing import TYPE_CHECKING

import typer

from promptmill.cli import options, output, status_text
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import RowFormat

if TYPE_CHECKING:
    from promptmill.producers import Validation

SOME_INVALID, ALL_INVALID = 3, 4
"""Exit codes: those of a run that succeeds partly, and of one that fails."""


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
    """List the invalid rows of a file with the reasons.

    Checks every row as submit does. It sends nothing and needs no Redis.

    \b
    Exit codes:
      0  all rows are valid
      3  some rows are invalid
      4  submit would refuse the whole run

    \b
    Examples:
      promptmill validate prompts.jsonl
      promptmill validate reviews.csv --template @prompt.txt --key id
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
    if validation.problem_count > len(validation.findings):
        hidden_count = validation.problem_count - len(validation.findings)
        typer.echo(f"{hidden_count:,} more problems are not shown", err=True)
    rows = status_text.format_count(validation.rows, "row")
    if validation.stops:
        problems = status_text.format_count(validation.problem_count, "problem")
        summary = f"{problems} in {rows}; submit would refuse the whole run"
    elif validation.problem_count:
        summary = f"{validation.problem_count:,} of {rows} invalid; submit would send the others"
    else:
        summary = f"{rows}, all valid"
    typer.echo(summary, err=True)
