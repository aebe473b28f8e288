"""Streams rows out of BigQuery, for producers that can reach it; found there as the entry point ``bigquery_rows``."""

import re
from collections.abc import Iterator
from typing import Any

from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings
from promptmill.config.tables import BIGQUERY_SCHEME, parse_table
from promptmill.workers.ports.warehouse import Warehouse
from promptmill.workers.services import build_services

_QUERY = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")


def read_rows(settings: Settings, source: str, order_by: str = "") -> Iterator[dict[str, Any]]:
    """Stream the rows of ``source``, ``bq://project.dataset.table`` or a query in GoogleSQL, a page at a time.

    A table is read as it lies there, which costs nothing but is in no order; with ``order_by``, a column, it is queried.
    Dates and times come as ISO strings, NUMERIC as strings of digits, BYTES in base64, JSON as what it stands for.
    Raises ConfigurationError, NotFound, Permanent, Transient.
    """
    return read_from(build_services(settings).warehouse, source, order_by)


def read_from(warehouse: Warehouse, source: str, order_by: str = "") -> Iterator[dict[str, Any]]:
    """Do so from this warehouse."""
    if not source.startswith(BIGQUERY_SCHEME):
        if order_by or not _QUERY.match(source):
            raise ConfigurationError(
                f"rows of BigQuery come from {BIGQUERY_SCHEME}project.dataset.table or from SELECT …"
            )
        return warehouse.stream_rows(source)
    table = parse_table(source)
    if not order_by:
        return warehouse.stream_rows(table)
    if not _COLUMN.fullmatch(order_by):
        raise ConfigurationError(f"{order_by[:80]!r} is no name of a column")
    return warehouse.stream_rows(f"SELECT * FROM `{table}` ORDER BY `{order_by}`")  # noqa: S608 (both names were checked)
