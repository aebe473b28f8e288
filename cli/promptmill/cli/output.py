"""Data on stdout, in the format that was asked for."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Record = Mapping[str, object]
WIDTH_OF_A_FILE = 200
LONGEST_UNFOLDED = 26
"""Characters: a run's id stays in one piece."""


class Format(StrEnum):
    """How rows of data are shown."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class Shape(StrEnum):
    """How one thing is shown."""

    table = "table"
    json = "json"


def to_stdout() -> "Console":
    """Return a console for data: wide where it is not a terminal, so that nothing is cut."""
    return _console(sys.stdout.isatty(), stderr=False)


def to_stderr() -> "Console":
    """Return a console for talk."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(terminal: bool, stderr: bool) -> "Console":
    from rich.console import Console

    width = None if terminal else WIDTH_OF_A_FILE
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False, soft_wrap=not terminal)


def write(records: Iterable[Record], form: Format) -> None:
    """Write records, which all have the same names; only a table needs them all at once."""
    match form:
        case Format.table:
            to_stdout().print(table(list(records)))
        case Format.json:
            _write_array(records)
        case Format.jsonl:
            for record in records:
                write_line(msgspec.json.encode(record))
        case Format.csv:
            _write_csv(records)


def write_json(value: object) -> None:
    """Write a value as JSON for people and programs to read."""
    print(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))  # noqa: T201


def write_line(line: bytes) -> None:
    """Write one line of bytes as it is."""
    sys.stdout.buffer.write(line.rstrip(b"\n") + b"\n")


def _write_array(records: Iterable[Record]) -> None:
    between = "["
    for record in records:
        print(between, msgspec.json.encode(record).decode(), sep="\n", end="")  # noqa: T201
        between = ","
    print("[]" if between == "[" else "\n]")  # noqa: T201


def _write_csv(records: Iterable[Record]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, record in enumerate(records):
        if number == 0:
            writer.writerow(record)
        writer.writerow(_flat(value) for value in record.values())


def _flat(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def table(records: list[Record], title: str = "") -> "Table":
    """Return records as a table, numbers to the right; where it is narrow, only long text is folded."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, title=title or None, title_justify="left", pad_edge=False)
    for name, value in (records[0] if records else {}).items():
        right = isinstance(value, int | float)
        longest = max(len(_cell(record[name])) for record in records)
        made.add_column(
            name, justify="right" if right else "left", overflow="fold", no_wrap=longest <= LONGEST_UNFOLDED
        )
    for record in records:
        made.add_row(*(_cell(value) for value in record.values()))
    return made


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)
