"""Writes data to stdout in the requested format, and notes to stderr."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
import typer

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

    from promptmill.config.settings import Settings

Record = Mapping[str, object]
FILE_WIDTH = 200
MAX_UNFOLDED_WIDTH = 26
"""Characters. Columns up to this width are not folded, so run ids stay whole."""


class RowFormat(StrEnum):
    """Formats of rows."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class ObjectFormat(StrEnum):
    """Formats of a single object."""

    table = "table"
    json = "json"


def print_broker_note(settings: "Settings") -> None:
    """Print a note to stderr if no broker is configured."""
    from promptmill.config.settings import describe_default_broker

    if note := describe_default_broker(settings):
        typer.echo(note, err=True)


def stdout_console() -> "Console":
    """Return a console for data. It is wide unless stdout is a terminal."""
    return _create_console(sys.stdout.isatty(), stderr=False)


def stderr_console() -> "Console":
    """Return a console for messages."""
    return _create_console(sys.stderr.isatty(), stderr=True)


def _create_console(is_terminal: bool, stderr: bool) -> "Console":
    from rich.console import Console

    width = None if is_terminal else FILE_WIDTH
    return Console(
        stderr=stderr,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not is_terminal,
    )


def write_records(records: Iterable[Record], output_format: RowFormat) -> None:
    """Write records with equal fields. Only a table holds all of them in memory."""
    match output_format:
        case RowFormat.table:
            stdout_console().print(build_table(list(records)))
        case RowFormat.json:
            _write_array(records)
        case RowFormat.jsonl:
            for record in records:
                write_line(msgspec.json.encode(record))
        case RowFormat.csv:
            _write_csv(records)


def write_listing(records: Iterable[Record], output_format: RowFormat, empty_note: str) -> None:
    """Write records. Without any, a table is replaced by a note on stderr."""
    if output_format is not RowFormat.table:
        write_records(records, output_format)
    elif rows := list(records):
        stdout_console().print(build_table(rows))
    else:
        typer.echo(empty_note, err=True)


def write_json(value: object) -> None:
    """Write a value as indented JSON."""
    print(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))  # noqa: T201


def write_line(line: bytes) -> None:
    """Write one line of bytes unchanged."""
    sys.stdout.buffer.write(line.rstrip(b"\n") + b"\n")


def _write_array(records: Iterable[Record]) -> None:
    separator = "["
    for record in records:
        print(separator, msgspec.json.encode(record).decode(), sep="\n", end="")  # noqa: T201
        separator = ","
    print("[]" if separator == "[" else "\n]")  # noqa: T201


def _write_csv(records: Iterable[Record]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, record in enumerate(records):
        if number == 0:
            writer.writerow(record)
        writer.writerow(_flatten_value(value) for value in record.values())


def _flatten_value(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def build_table(records: list[Record], title: str = "") -> "Table":
    """Return records as a table with numbers on the right. Only long text is folded."""
    rich_table = _open_table(title)
    for name, value in (records[0] if records else {}).items():
        justify: JustifyMethod = "right" if isinstance(value, int | float) else "left"
        longest = max(len(_format_cell(record[name])) for record in records)
        is_short = longest <= MAX_UNFOLDED_WIDTH
        rich_table.add_column(name, justify=justify, overflow="fold", no_wrap=is_short)
    for record in records:
        rich_table.add_row(*(_format_cell(value) for value in record.values()))
    return rich_table


def _open_table(title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(
        title=title or None, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )


def _format_cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)
