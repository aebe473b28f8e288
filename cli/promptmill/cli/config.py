"""``promptmill config show``."""

from typing import Annotated

import typer

from promptmill.cli import output
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import RowFormat

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
"""The command group ``promptmill config``."""


@app.callback()
@add_help(
    """
    \b
    Examples:
      promptmill config show
    """
)
def config() -> None:
    """Show the settings."""


Origin = Annotated[bool, typer.Option("--origin", help="Show the source of each value.")]


@app.command()
@add_help(
    """
    Passwords are masked.

    \b
    Examples:
      promptmill config show --origin
      promptmill config show --format json
    """
)
def show(origin: Origin = False, output_format: RowFormatOption = RowFormat.table) -> None:
    """Show the settings of a process started in this environment."""
    from promptmill.config.settings import list_settings, load_settings

    columns = ("variable", "value", "origin") if origin else ("variable", "value")
    rows = (
        {column: getattr(setting, column) for column in columns}
        for setting in list_settings(load_settings())
    )
    output.write_records(rows, output_format)
