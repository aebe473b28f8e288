"""``promptmill wait``."""

from typing import Annotated

import typer

from promptmill.cli import progress
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RunId, parse_span

Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SPAN",
        parser=parse_span,
        help="Maximum time, such as 90s, 30m or 12h. Default: no limit.",
    ),
]


@add_help(
    """
    The exit code shows the result of the run.

    \b
    Examples:
      promptmill wait 01kq
      promptmill wait 01kq --timeout 12h
    """
)
def wait(run_id: RunId, timeout: Timeout = None) -> None:
    """Wait until a run ends."""
    from promptmill.producers import Promptmill

    progress.wait_for_run(Promptmill().get(run_id), timeout)
