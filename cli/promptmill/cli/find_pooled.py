"""``promptmill find-pooled``."""

from typing import Annotated

import typer

from promptmill.cli import options


def find_pooled(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Key of the prompt, as printed by enqueue.")
    ],
    pool: options.Pool,
) -> None:
    """Print the id of the run that contains a pooled prompt.

    Fails while the prompt still waits in the pool. Keys are kept for two days.

    \b
    Examples:
      promptmill find-pooled T-17 --pool tickets
      promptmill show $(promptmill find-pooled T-17 --pool tickets) T-17
    """
    from promptmill.producers import Promptmill

    typer.echo(Promptmill().find_pooled(pool, key).id)
