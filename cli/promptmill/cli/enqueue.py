"""``promptmill enqueue``."""

import sys
from typing import Annotated

import typer

from promptmill.cli import options, output, schema_option


def enqueue(
    prompts: Annotated[
        list[str],
        typer.Argument(metavar="PROMPT...", help="Prompts; - is all of stdin, as one prompt."),
    ],
    pool: options.Pool,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Key of a single prompt. Default: a generated key."),
    ] = None,
    model: options.Model = None,
    labels: options.Labels = None,
    sink: options.Sinks = None,
    response_schema: options.ResponseSchema = "",
    link: options.Link = None,
    link_error: options.LinkError = None,
    link_results: options.LinkResults = None,
) -> None:
    """Add single prompts to a pool and print their keys.

    Use it for many small calls from many processes. Workers combine the prompts of a
    pool into runs: at PROMPTMILL_POOL_REQUESTS prompts, at PROMPTMILL_POOL_BYTES, or
    after PROMPTMILL_POOL_SECONDS. With a --key, the same call within an hour counts
    once. For many prompts at once use `promptmill submit`.

    \b
    Examples:
      promptmill enqueue "Summarize: the printer is on fire" --pool tickets
      promptmill enqueue - --pool tickets --key T-18 < ticket.txt
    """
    from promptmill.producers import Promptmill
    from promptmill.producers.contract.sink_kinds import parse_sink

    mill = Promptmill()
    output.print_broker_note(mill.settings)
    ticket = mill.enqueue(
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
