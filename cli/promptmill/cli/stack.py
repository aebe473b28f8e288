"""``promptmill up`` and ``down``: everything on this machine."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from promptmill.cli import output
from promptmill.cli.options import DEFAULT_DATA_DIRECTORY, DataDirectory, parse_span
from promptmill.config.errors import PromptmillError

if TYPE_CHECKING:
    from promptmill.local import Event, ServiceState, Stack

EMULATED_NOTICE = "Google is stood in for by emulators on this machine: nothing leaves it and nothing is paid for."


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(up)
    app.command()(down)


def up(
    workers: Annotated[int, typer.Option(min=1, help="Tasks that the worker does at a time.")] = 2,
    latency: Annotated[
        float,
        typer.Option(
            metavar="SPAN", parser=parse_span, help="How long the emulator takes for a job."
        ),
    ] = "10s",  # type: ignore[assignment]  # Typer parses defaults too
    data: DataDirectory = DEFAULT_DATA_DIRECTORY,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what an earlier stack left there.")
    ] = False,
) -> None:
    """Run everything on this machine until Ctrl-C.

    Redis, emulators of Google, workers, beat, Flower.

    \b
    promptmill up
    promptmill up --workers 4 --latency 60s --fresh
    """
    from promptmill import local

    options = local.StackOptions(
        directory=data, worker_processes=workers, latency=latency, fresh=fresh
    )
    typer.echo(EMULATED_NOTICE, err=True)
    with convert_local_errors():
        local.run_supervisor(options, print_event, on_ready=_print_environment)


def down(data: DataDirectory = DEFAULT_DATA_DIRECTORY) -> None:
    """Stop what `promptmill up` has started.

    \b
    promptmill down
    """
    from promptmill import local

    with convert_local_errors():
        was_running = local.stop_running(data)
    typer.echo(
        "everything is stopped" if was_running else f"nothing is running in {data}", err=True
    )


@contextmanager
def convert_local_errors() -> Iterator[None]:
    """Make errors of the local stack those of the command line."""
    from promptmill.local import LocalError

    try:
        yield
    except LocalError as error:
        raise PromptmillError(str(error)) from error


def print_event(event: "Event") -> None:
    """Say on stderr what has happened to a service."""
    typer.echo(f"{event.service:<9} {event.message}", err=True)
    if event.kind in {"died", "failed"} and event.log:
        typer.echo(event.log, err=True)


def url_rows(services: "Mapping[str, ServiceState]") -> list[output.Record]:
    """Return which service is where, as rows of a table."""
    return [
        {"service": name, "url": service.url} for name, service in services.items() if service.url
    ]


def _print_environment(stack: "Stack") -> None:
    output.stdout_console().print(output.build_table(url_rows(stack.status())))
    for name, value in stack.client_environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo(
        "\neverything is ready; paste the lines above into another terminal; Ctrl-C stops it all",
        err=True,
    )
