"""``promptmill config show``."""

from typing import Annotated

import typer

from promptmill.cli import output
from promptmill.cli.options import RowFormatOption
from promptmill.cli.output import RowFormat


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    config = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    config.callback()(_config_group)
    config.command()(show)
    app.add_typer(config, name="config")


def _config_group() -> None:
    """Show the settings.

    \b
    promptmill config show
    """


def show(
    origin: Annotated[
        bool, typer.Option("--origin", help="Say where each value comes from, too.")
    ] = False,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """Show the settings as a process started here would have them.

    Passwords are masked.

    \b
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
