"""``promptmill validate``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from promptmill.cli import options, output, status_text
from promptmill.cli.help_text import add_help
from promptmill.cli.option_groups import RowFlags, expand_groups
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import Record, RowFormat

if TYPE_CHECKING:
    from promptmill.producers import Validation

SOME_INVALID, ALL_INVALID = 3, 4
"""Exit codes: those of a run that succeeds partly, and of one that fails."""


@expand_groups
@add_help(
    """
    Checks every row as submit does. It sends nothing and needs no Redis. The fields
    of a request are checked by the rules of its model, if a model is set.

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
)
def validate(
    file: options.File,
    model: options.Model = None,
    *,
    row_flags: RowFlags,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """List the invalid rows of a file with the reasons."""
    from promptmill.producers import Promptmill

    rows = row_flags.row_options()
    validation = Promptmill().validate(file, model=model, **rows)
    if validation.findings or output_format is not RowFormat.table:
        output.write_records(_finding_rows(validation), output_format)
    _print_summary(validation)
    if not validation.ok:
        raise typer.Exit(ALL_INVALID if validation.stops else SOME_INVALID)


def _finding_rows(validation: "Validation") -> Iterator[Record]:
    for finding in validation.findings:
        yield {"row": finding.row, "key": finding.key, "reason": finding.reason}


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
