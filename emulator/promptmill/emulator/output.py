"""Output lines in Google's format, written to temporary files."""

import os
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import IO

import msgspec

from .errors import RowRefused
from .json_types import JsonObject

FINAL_FILE = "predictions.jsonl"


def make_answered_line(row: JsonObject, response: JsonObject, moment: float) -> JsonObject:
    """Return the line of an answered request. It echoes extra fields of the row."""
    return {
        "status": "",
        "processed_time": _processed_time(moment),
        "request": row["request"],
        "response": response,
    } | _extra_fields(row)


def make_failed_line(row: JsonObject, error: RowRefused, moment: float) -> JsonObject:
    """Return the line of a failed request: `status` is set, the response is empty."""
    status = error.status_text()
    return {
        "status": status,
        "processed_time": _processed_time(moment),
        "request": row["request"],
        "response": {},
    } | _extra_fields(row)


def make_embedded_line(row: JsonObject, response: JsonObject) -> JsonObject:
    """Return the line of an embedding, which has neither `status` nor `processed_time`."""
    return _extra_fields(row) | {"request": row["request"], "response": response}


def encode_line(line: object) -> bytes:
    """Return one line of JSON, with a newline."""
    return msgspec.json.encode(line) + b"\n"


class OutputSpool:
    """The output files of one job by name, as temporary files until published."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        self._last_line_starts: dict[str, int] = {}

    def write_line(self, name: str, line: bytes) -> None:
        """Append a line to a file; the first line creates the file."""
        file = self.open_file(name)
        self._last_line_starts[name] = file.seek(0, os.SEEK_CUR)
        file.write(line)

    def open_file(self, name: str) -> IO[bytes]:
        """Return the file, created if necessary."""
        if name not in self._files:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
            self._files[name] = self._stack.enter_context(file)
            self._last_line_starts[name] = 0
        return self._files[name]

    def items(self) -> list[tuple[str, IO[bytes]]]:
        """Return all names and files."""
        return list(self._files.items())

    def cut_last_lines(self) -> None:
        """Cut the last line of every file in half."""
        for name, file in self._files.items():
            end, start = file.seek(0, os.SEEK_END), self._last_line_starts[name]
            file.truncate(start + (end - start) // 2)

    def close(self) -> None:
        """Remove the files."""
        self._stack.close()


def _processed_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


def _extra_fields(row: JsonObject) -> JsonObject:
    return {name: value for name, value in row.items() if name != "request"}
