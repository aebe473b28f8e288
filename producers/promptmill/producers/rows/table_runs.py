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
        if missing := [
            name for name in (REQUEST_COLUMN, key, *(metadata or ())) if name not in row
        ]:
            raise ConfigurationError(
                f"the table has no column {missing[0]!r}; its columns are "
                f"{', '.join(map(repr, row))}"
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


# A STRING column holds JSON. Invalid JSON becomes an invalid row.
def _decode_request(value: object) -> object:
    if isinstance(value, str):
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(value)
    return value
