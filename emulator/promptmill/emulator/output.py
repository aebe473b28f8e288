"""Lines of the output in Google's format, spooled to temporary files."""

import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

from .errors import RowRefused

FINAL_FILE = "predictions.jsonl"


def make_answered_line(
    row: dict[str, Any], response: dict[str, Any], moment: float
) -> dict[str, Any]:
    """The line of a request that was answered; extra top-level fields of the row come back."""
    return {
        "status": "",
        "processed_time": _processed_time(moment),
        "request": row["request"],
        "response": response,
    } | _extra_fields(row)


def make_failed_line(row: dict[str, Any], error: RowRefused, moment: float) -> dict[str, Any]:
    """The line of a request that failed: the reason is in `status`, the response is empty."""
    status = error.status_text()
    return {
        "status": status,
        "processed_time": _processed_time(moment),
        "request": row["request"],
        "response": {},
    } | _extra_fields(row)


def encode_line(line: dict[str, Any]) -> bytes:
    """One line of JSON with its newline."""
    return msgspec.json.encode(line) + b"\n"


class OutputSpool:
    """The output files of one job by name, each in a temporary file until it is published."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        self._last_line_starts: dict[str, int] = {}

    def write_line(self, name: str, line: bytes) -> None:
        """Append a line to a file, which comes into being with it."""
        file = self.open_file(name)
        self._last_line_starts[name] = file.tell()
        file.write(line)

    def open_file(self, name: str) -> IO[bytes]:
        """The file of that name."""
        if name not in self._files:
            self._files[name] = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by close()
            self._last_line_starts[name] = 0
        return self._files[name]

    def items(self) -> list[tuple[str, IO[bytes]]]:
        """All files with their names."""
        return list(self._files.items())

    def cut_last_lines(self) -> None:
        """Cut the last line of every file in its middle."""
        for name, file in self._files.items():
            end, start = file.seek(0, 2), self._last_line_starts[name]
            file.truncate(start + (end - start) // 2)

    def close(self) -> None:
        """Remove the files."""
        self._stack.close()


def _processed_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


def _extra_fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "request"}
