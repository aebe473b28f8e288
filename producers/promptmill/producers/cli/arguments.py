"""Arguments and options that several verbs have in common."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from promptmill.config import spans
from promptmill.producers.cli.output import Format, Shape

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or how it starts.")]
RowsFormat = Annotated[Format, typer.Option("--format", help="How to show the rows.")]
OneFormat = Annotated[Shape, typer.Option("--format", help="How to show it.")]
DataDirectory = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Where the local stack keeps its data.", file_okay=False)
]
DATA = Path(".promptmill")


def span(text: str | float) -> float:
    """Parse an option that is a span of time into seconds."""
    try:
        return spans.parse(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def label(text: str) -> str:
    """Check an option that is ``name=value``."""
    if not text.partition("=")[0] or "=" not in text:
        raise typer.BadParameter(f"{text!r} is not name=value")
    return text


def moment(seconds: float) -> str:
    """Return a time (seconds since the epoch) as ISO 8601 in UTC, "" for 0."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""
