"""``promptmill retry``."""

import json
from typing import Annotated, Any

import typer

from promptmill.cli.arguments import RunId
from promptmill.cli.submit import wait_for


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(retry)


def setting(text: str) -> tuple[str, Any]:
    """Parse an option ``name=value`` whose value is JSON, or a string as it stands."""
    name, mark, value = text.partition("=")
    if not (name and mark):
        raise typer.BadParameter(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def retry(
    run: RunId,
    only: Annotated[
        list[str] | None, typer.Option(metavar="REASON", help="Only what failed for this reason; may be repeated.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Lay this over each generationConfig; may be repeated."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; the exit code says how it went.")] = False,
) -> None:
    """Send the failed requests of a run again, as a run of its own.

    Prints the new run's id. It has the model, options, callbacks and sinks of the first, but for a local file, which it
    would overwrite. The same command again gives the same run. `promptmill failures` shows the reasons.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill retry 01kq
    promptmill retry 01kq --only MAX_TOKENS --set maxOutputTokens=4096 --wait
    """
    from promptmill.producers import Promptmill

    config = dict(setting(text) for text in given or ())
    again = Promptmill().get(run).retry(only or (), config)
    typer.echo(again.id)
    if wait:
        wait_for(again, None)
