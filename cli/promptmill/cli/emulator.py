"""``promptmill emulator``."""

import typer

from promptmill.cli import processes
from promptmill.cli.help_text import add_help


@add_help(
    """
    \b
    Examples:
      promptmill emulator --help
      promptmill emulator --port 8080 --latency 20s
    """
)
def emulator(ctx: typer.Context) -> None:
    """Run the emulator of Vertex AI batch jobs."""
    processes.require_modules("local", "uvicorn", "starlette")
    processes.replace_process(["-m", "promptmill.emulator", *ctx.args])
