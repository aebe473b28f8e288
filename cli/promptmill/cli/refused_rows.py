"""Reports rows that cannot be sent."""

from typing import TYPE_CHECKING

import typer

from promptmill.cli import status_text

if TYPE_CHECKING:
    from promptmill.producers.requests.request_line import RequestLine

MAX_SHOWN_REFUSALS = 10


class RefusedRows:
    """Counts refused rows and keeps the messages of the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self._messages: list[str] = []

    def record_line(self, line: "RequestLine") -> None:
        """Add a refused row."""
        self.count += 1
        if len(self._messages) < MAX_SHOWN_REFUSALS:
            self._messages.append(_describe_refusal(line))

    def print_summary(self) -> None:
        """Print the refused rows to stderr."""
        for message in self._messages:
            typer.echo(message, err=True)
        if self.count > len(self._messages):
            typer.echo(f"refused: {self.count - len(self._messages):,} more rows", err=True)
        if self.count:
            rows = status_text.format_count(self.count, "row")
            typer.echo(f"{rows} will not be sent; the rest of the run continues", err=True)


def _describe_refusal(line: "RequestLine") -> str:
    key = f" (key {line.key!r})" if line.key != str(line.row) else ""
    return f"refused: row {line.row}{key}: {line.refusal}"
