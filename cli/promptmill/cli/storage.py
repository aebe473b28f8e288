"""``promptmill storage``."""

import typer

from promptmill.cli import processes
from promptmill.cli.help_text import add_help


@add_help(
    """
    \b
    Examples:
      promptmill storage --help
      promptmill storage --directory objects --bucket promptmill
    """
)
def storage(ctx: typer.Context) -> None:
    """Run the emulator of Cloud Storage."""
    processes.require_modules("local", "uvicorn", "httptools")
    processes.replace_process(["-m", "promptmill.emulator.gcs", *ctx.args])
