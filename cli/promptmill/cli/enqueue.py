"""``promptmill enqueue``."""

import sys
from typing import Annotated

import msgspec
import typer

from promptmill.cli import options, output, schema_option
from promptmill.cli.help_text import add_help
from promptmill.cli.option_groups import CallbackFlags, expand_groups

Prompts = Annotated[
    list[str],
    typer.Argument(metavar="PROMPT...", help="Prompts; - is all of stdin, as one prompt."),
]
Key = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Key of a single prompt. Default: a generated key."),
]


@expand_groups
@add_help(
    """
    Use it for many small calls from many processes. Workers combine the prompts of a
    pool into runs: at PROMPTMILL_POOL_REQUESTS prompts, at PROMPTMILL_POOL_BYTES, or
    after PROMPTMILL_POOL_SECONDS. With a --key, the same call within an hour counts
    once. For many prompts at once use `promptmill submit`.

    \b
    Examples:
      promptmill enqueue "Summarize: the printer is on fire" --pool tickets
      promptmill enqueue - --pool tickets --key T-18 < ticket.txt
    """
)
def enqueue(
    prompts: Prompts,
    pool: options.Pool,
    key: Key = None,
    model: options.Model = None,
    labels: options.Labels = None,
    sink: options.Sinks = None,
    response_schema: options.ResponseSchema = "",
    *,
    callback_flags: CallbackFlags,
) -> None:
    """Add single prompts to a pool and print their keys."""
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
        **msgspec.structs.asdict(callback_flags),
    )
    typer.echo("\n".join(ticket.keys))
