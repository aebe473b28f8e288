"""``promptmill retry``."""

import json
from typing import Annotated

import typer

from promptmill.cli import progress
from promptmill.cli.help_text import add_help
from promptmill.cli.options import RunId, Wait


def parse_override(text: str) -> tuple[str, object]:
    """Parse an option ``name=value``. The value is JSON, or else a string."""
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise typer.BadParameter(f"{text!r} is not an override; write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


Only = Annotated[
    list[str] | None,
    typer.Option(metavar="REASON", help="Retry only failures with this reason; repeatable."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Override a field of generationConfig; repeatable.",
    ),
]


@add_help(
    """
    Prints the id of the new run. It has the model, options, callbacks and sinks of the
    first, except local files, which it would overwrite. Repeating the command returns
    the same run. `promptmill failures` lists the reasons.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill retry 01kq
      promptmill retry 01kq --only MAX_TOKENS --set maxOutputTokens=4096 --wait
    """
)
def retry(
    run_id: RunId, only: Only = None, overrides: Overrides = None, wait: Wait = False
) -> None:
    """Retry the failed requests of a run in a new run."""
    from promptmill.producers import Promptmill

    config = dict(parse_override(text) for text in overrides or ())
    new_run = Promptmill().get(run_id).retry(only or (), config)
    typer.echo(new_run.id)
    if wait:
        progress.wait_for_run(new_run)
