"""``promptmill list``."""

from typing import Annotated

import typer

from promptmill.cli import output, run_views
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import RowFormat

Limit = Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Maximum number of runs.")]


@add_help(
    """
    \b
    Examples:
      promptmill list
      promptmill list --limit 1000 --format csv
    """
)
def list_runs(limit: Limit = 20, output_format: RowFormatOption = RowFormat.table) -> None:
    """List the newest runs."""
    if output_format is not RowFormat.table:
        output.write_records(run_views.summary_records(limit), output_format)
    elif rows := run_views.overview_rows(limit):
        output.stdout_console().print(output.build_table(rows))
    else:
        typer.echo("no runs yet; start one with: promptmill submit FILE", err=True)
