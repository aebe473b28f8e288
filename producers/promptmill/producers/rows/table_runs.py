"""Requests out of the rows of a BigQuery table that has them ready: ``Promptmill.submit_table``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.config.tables import parse_dataset, parse_table

REQUEST_COLUMN = "request"


def split_output(output: str) -> tuple[str, str]:
    """Return the dataset of ``output``, and the table that it names, or an empty string; raises ConfigurationError."""
    try:
        table = parse_table(output)
    except ConfigurationError:
        return parse_dataset(output), ""
    return f"{table.project}.{table.dataset}", str(table)


def build_prompts(
    rows: Iterable[Mapping[str, Any]], key: str, metadata: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Make a prompt of each row: its request, its key, and of the other columns those that have a value.

    Raises ConfigurationError when a column is missing that is asked for.
    """
    for row in rows:
        if missing := [
            name for name in (REQUEST_COLUMN, key, *(metadata or ())) if name not in row
        ]:
            raise ConfigurationError(
                f"the table has no column {missing[0]!r}, but {', '.join(map(repr, row))}"
            )
        metadata_columns = row.keys() - {REQUEST_COLUMN, key} if metadata is None else metadata
        row_metadata = {
            name: row[name] for name in row if name in metadata_columns and row[name] is not None
        }
        yield {"key": _normalize_key(row[key]), "request": _decode_request(row[REQUEST_COLUMN])} | (
            {"metadata": row_metadata} if row_metadata else {}
        )


def _normalize_key(value: object) -> object:
    return str(value) if isinstance(value, int | float) else value


def _decode_request(value: object) -> object:
    """A request in a STRING column; what is no JSON is refused by its row, like any other that is no request."""
    if isinstance(value, str):
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(value)
    return value
