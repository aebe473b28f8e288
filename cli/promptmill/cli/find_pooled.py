"""``promptmill find-pooled``."""

from typing import Annotated

import typer

from promptmill.cli import options
from promptmill.cli.help_text import add_help

Key = Annotated[
    str, typer.Argument(metavar="KEY", help="Key of the prompt, as printed by enqueue.")
]


@add_help(
    """
    Fails while the prompt still waits in the pool. Keys are kept for two days.

    \b
    Examples:
      promptmill find-pooled T-17 --pool tickets
      promptmill show $(promptmill find-pooled T-17 --pool tickets) T-17
    """
)
def find_pooled(key: Key, pool: options.Pool) -> None:
    """Print the id of the run that contains a pooled prompt."""
    from promptmill.producers import Promptmill

    typer.echo(Promptmill().find_pooled(pool, key).id)
