"""``promptmill config show``."""

from typing import Annotated

import typer

from promptmill.cli import output
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import RowFormat

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
"""The command group ``promptmill config``."""


@app.callback()
def config() -> None:
    """Show the settings.

    \b
    Examples:
      promptmill config show
    """


@app.command()
def show(
    origin: Annotated[
        bool, typer.Option("--origin", help="Show the source of each value.")
    ] = False,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """Show the settings of a process started in this environment.

    Passwords are masked.

    \b
    Examples:
      promptmill config show --origin
      promptmill config show --format json
    """
    from promptmill.config.settings import list_settings, load_settings

    rows = (
        {"variable": setting.variable, "value": setting.value, "origin": setting.origin}
        for setting in list_settings(load_settings())
    )
    output.write_records(
        (row if origin else {name: row[name] for name in ("variable", "value")} for row in rows),
        output_format,
    )
