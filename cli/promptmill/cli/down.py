"""``promptmill down``."""

import typer

from promptmill.cli import local_stack
from promptmill.cli.help_text import add_help
from promptmill.cli.options import DEFAULT_DATA_DIRECTORY, DataDirectory


@add_help(
    """
    \b
    Examples:
      promptmill down
      promptmill down --data ./stack
    """
)
def down(data: DataDirectory = DEFAULT_DATA_DIRECTORY) -> None:
    """Stop the stack that `promptmill up` started."""
    from promptmill import local

    with local_stack.convert_local_errors():
        was_running = local.stop_running(data)
    advice = "run this in the folder where you ran promptmill up, or pass --data"
    message = "all services stopped" if was_running else f"no stack runs in {data}; {advice}"
    typer.echo(message, err=True)
