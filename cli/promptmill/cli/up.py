"""``promptmill up``."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import local_stack, output
from promptmill.cli.help_text import add_help
from promptmill.cli.options import DEFAULT_DATA_DIRECTORY, DataDirectory, parse_span

if TYPE_CHECKING:
    from promptmill.local import Stack


READY_NOTE = (
    "\nall services are ready; paste the lines above into a second terminal; stop with Ctrl-C"
)

Workers = Annotated[int, typer.Option(metavar="N", min=1, help="Concurrent tasks of the worker.")]
Latency = Annotated[
    float, typer.Option(metavar="SPAN", parser=parse_span, help="Duration of an emulated job.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete the data of an earlier stack first.")]


Location = Annotated[
    str, typer.Option(metavar="NAME", help="Location of the jobs; tables need us or eu.")
]


@add_help(
    """
    Starts Redis, emulators of Cloud Storage and Vertex AI, workers, beat and Flower.
    Prints environment variables; paste them into a second terminal.

    \b
    Examples:
      promptmill up
      promptmill up --workers 4 --latency 60s --fresh
    """
)
def up(
    workers: Workers = 2,
    latency: Latency = "10s",  # type: ignore[assignment]  # Typer parses defaults too
    data: DataDirectory = DEFAULT_DATA_DIRECTORY,
    fresh: Fresh = False,
    location: Location = "global",
) -> None:
    """Run the whole stack on this machine until Ctrl-C."""
    from promptmill import local

    stack_options = local.StackOptions(
        directory=data,
        worker_processes=workers,
        latency=latency,
        location=location,
        fresh=fresh,
    )
    typer.echo(local_stack.EMULATED_NOTICE, err=True)
    with local_stack.convert_local_errors():
        local.run_supervisor(stack_options, local_stack.print_event, on_ready=_print_environment)


def _print_environment(stack: "Stack") -> None:
    output.stdout_console().print(output.build_table(local_stack.url_rows(stack.status())))
    for name, value in stack.client_environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo(READY_NOTE, err=True)
