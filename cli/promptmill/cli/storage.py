"""``promptmill storage``."""

import typer

from promptmill.cli import processes


def storage(ctx: typer.Context) -> None:
    """Run the emulator of Cloud Storage.

    \b
    Examples:
      promptmill storage --help
      promptmill storage --directory objects --bucket promptmill
    """
    processes.require_modules("local", "uvicorn", "httptools")
    processes.replace_process(["-m", "promptmill.emulator.gcs", *ctx.args])
