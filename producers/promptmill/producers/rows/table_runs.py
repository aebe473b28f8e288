"""Reads requests from a BigQuery table, for ``Promptmill.submit_table``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.config.tables import parse_dataset, parse_table

REQUEST_COLUMN = "request"


def split_output(output: str) -> tuple[str, str]:
    """Return the dataset of ``output``, and its table or an empty string.

    Raises ConfigurationError.
    """
    try:
        table = parse_table(output)
    except ConfigurationError:
        return parse_dataset(output), ""
    return f"{table.project}.{table.dataset}", str(table)


def build_prompts(
    rows: Iterable[Mapping[str, object]], key: str, metadata: Sequence[str] | None
) -> Iterator[dict[str, object]]:
    """Yield a prompt for each row: request, key, and metadata without null values.

    Raises ConfigurationError for a missing column.
    """
    for row in rows:
        _check_columns(row, REQUEST_COLUMN, key, *(metadata or ()))
        yield _build_prompt(row, key, metadata)


def _check_columns(row: Mapping[str, object], *columns: str) -> None:
    if missing := [name for name in columns if name not in row]:
        names = ", ".join(map(repr, row))
        raise ConfigurationError(f"the table has no column {missing[0]!r}; its columns are {names}")


def _build_prompt(
    row: Mapping[str, object], key: str, metadata: Sequence[str] | None
) -> dict[str, object]:
    columns = row.keys() - {REQUEST_COLUMN, key} if metadata is None else metadata
    values = {name: row[name] for name in row if name in columns and row[name] is not None}
    prompt = {"key": _normalize_key(row[key]), "request": _decode_request(row[REQUEST_COLUMN])}
    return prompt | ({"metadata": values} if values else {})


def _normalize_key(value: object) -> object:
    return str(value) if isinstance(value, int | float) else value


# A STRING column holds JSON. Invalid JSON becomes an invalid row.
def _decode_request(value: object) -> object:
    if isinstance(value, str):
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(value)
    return value
