"""``promptmill retry``."""

import json
from typing import Annotated, Any

import typer

from promptmill.cli.options import RunId
from promptmill.cli.submit import wait_for_run


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(retry)


def parse_override(text: str) -> tuple[str, Any]:
    """Parse an option ``name=value`` whose value is JSON, or a string as it stands."""
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise typer.BadParameter(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def retry(
    run_id: RunId,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="REASON", help="Only what failed for this reason; may be repeated."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Lay this over each generationConfig; may be repeated.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; the exit code says how it went.")
    ] = False,
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

    config = dict(parse_override(text) for text in overrides or ())
    new_run = Promptmill().get(run_id).retry(only or (), config)
    typer.echo(new_run.id)
    if wait:
        wait_for_run(new_run, None)
