"""Output and errors of the local stack, for ``up``, ``down`` and ``demo``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from promptmill.cli import output
from promptmill.config.errors import PromptmillError

if TYPE_CHECKING:
    from promptmill.local import Event, ServiceState

EMULATED_NOTICE = "Google is emulated on this machine: no data leaves it, and nothing is billed."


@contextmanager
def convert_local_errors() -> Iterator[None]:
    """Raise errors of the local stack as PromptmillError."""
    from promptmill.local import LocalError

    try:
        yield
    except LocalError as error:
        raise PromptmillError(str(error)) from error


def print_event(event: "Event") -> None:
    """Print an event of a service to stderr."""
    typer.echo(f"{event.service:<9} {event.message}", err=True)
    if event.kind in {"died", "failed"} and event.log:
        typer.echo(event.log, err=True)


def url_rows(services: "Mapping[str, ServiceState]") -> list[output.Record]:
    """Return the services and their URLs as rows of a table."""
    return [
        {"service": name, "url": service.url} for name, service in services.items() if service.url
    ]
