"""``promptmill enqueue`` and ``promptmill find-pooled``."""

import sys
from typing import Annotated

import typer

from promptmill.cli import options, schema_option

Pool = Annotated[
    str, typer.Option(metavar="NAME", help="The pool: requests in one make runs together.")
]


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(enqueue)
    app.command()(find_pooled)


def enqueue(
    prompts: Annotated[
        list[str],
        typer.Argument(metavar="PROMPT...", help="The prompts; - is all of stdin, as one."),
    ],
    pool: Pool,
    key: Annotated[
        str | None, typer.Option(help="The key of the one prompt; else it is given one.")
    ] = None,
    model: options.Model = None,
    labels: options.Labels = None,
    sink: options.Sinks = None,
    response_schema: options.ResponseSchema = "",
    link: options.Link = None,
    link_error: options.LinkError = None,
    link_results: options.LinkResults = None,
) -> None:
    """Send single prompts to a pool, and print their keys.

    For many small calls from many places: each run has a job of its own, and workers make few runs of a pool, when it
    has PROMPTMILL_POOL_REQUESTS or as many bytes, or after PROMPTMILL_POOL_SECONDS. The same within an hour counts once,
    if it has a --key. More than a few prompts are a file for `promptmill submit`.

    \b
    promptmill enqueue "Summarize: the printer is on fire" --pool tickets --key T-17
    promptmill enqueue - --pool tickets --key T-18 --link shop.notify@shop < ticket.txt
    """
    from promptmill.producers import Promptmill
    from promptmill.producers.contract.sink_kinds import parse_sink

    ticket = Promptmill().enqueue(
        [sys.stdin.read() if prompt == "-" else prompt for prompt in prompts],
        pool=pool,
        key=key,
        model=model,
        labels=options.labels_to_dict(labels),
        sinks=[parse_sink(spec) for spec in sink or ()],
        response_schema=schema_option.load_schema(response_schema),
        link=link,
        link_error=link_error,
        link_results=link_results,
    )
    typer.echo("\n".join(ticket.keys))


def find_pooled(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The request's key, as enqueue printed it.")
    ],
    pool: Pool,
) -> None:
    """Print the id of the run that a pool's request is in.

    It is in one when a worker has made one of the pool, and is found for two days.

    \b
    promptmill find-pooled T-17 --pool tickets
    promptmill show $(promptmill find-pooled T-17 --pool tickets) T-17
    """
    from promptmill.producers import Promptmill

    typer.echo(Promptmill().find_pooled(pool, key).id)
