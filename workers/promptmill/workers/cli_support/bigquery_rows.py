"""Streams rows from BigQuery for producers: the entry point ``bigquery_rows``."""

import re
from collections.abc import Iterator

from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings
from promptmill.config.tables import BIGQUERY_SCHEME, Table, parse_table
from promptmill.workers.ports.warehouse import Warehouse
from promptmill.workers.services import build_services

_QUERY = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")


def read_rows(settings: Settings, source: str, order_by: str = "") -> Iterator[dict[str, object]]:
    """Stream the rows of ``source``, a page at a time.

    ``source`` is ``bq://project.dataset.table`` or a query in GoogleSQL. Reading a table is
    free, but its rows are in no order. ``order_by``, a column, turns it into a query. Dates
    and times are ISO strings, NUMERIC values strings of digits, BYTES base64. JSON values
    are decoded. Raises ConfigurationError, NotFound, Permanent, Transient.
    """
    return read_from(build_services(settings).warehouse, source, order_by)


def read_from(warehouse: Warehouse, source: str, order_by: str = "") -> Iterator[dict[str, object]]:
    """Stream the rows of ``source`` from ``warehouse``: see ``read_rows``."""
    if source.startswith(BIGQUERY_SCHEME):
        table = parse_table(source)
        return warehouse.stream_rows(_sort_table(table, order_by) if order_by else table)
    if order_by or not _QUERY.match(source):
        raise ConfigurationError(
            f"not a source of BigQuery rows: {source[:80]!r}; use a table, such as "
            f"{BIGQUERY_SCHEME}project.dataset.table, or a query that starts with SELECT or "
            "WITH (sort it with ORDER BY)"
        )
    return warehouse.stream_rows(source)


def _sort_table(table: Table, order_by: str) -> str:
    """Return a query of a table's rows, sorted by a column."""
    if not _COLUMN.fullmatch(order_by):
        raise ConfigurationError(
            f"order_by {order_by[:80]!r} is not a column name; use letters, digits and _"
        )
    # Both names are validated, so they cannot contain SQL.
    return f"SELECT * FROM `{table}` ORDER BY `{order_by}`"  # noqa: S608
