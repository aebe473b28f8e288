"""``promptmill config show``."""

from typing import Annotated

import typer

from promptmill.cli import output
from promptmill.cli.arguments import RowsFormat
from promptmill.cli.output import Format


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    config = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    config.callback()(_config)
    config.command()(show)
    app.add_typer(config, name="config")


def _config() -> None:
    """Show the settings.

    \b
    promptmill config show
    """


def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from, too.")] = False,
    form: RowsFormat = Format.table,
) -> None:
    """Show the settings as a process started here would have them.

    Passwords are masked.

    \b
    promptmill config show --origin
    promptmill config show --format json
    """
    from promptmill.config.settings import load, told

    rows = ({"variable": one.variable, "value": one.value, "origin": one.origin} for one in told(load()))
    output.write((row if origin else {name: row[name] for name in ("variable", "value")} for row in rows), form)
