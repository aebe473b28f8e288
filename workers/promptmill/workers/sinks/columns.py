"""Which columns of a table are filled with what, and what must be mended before anything can be."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from promptmill.workers.ports.database import Column, TableInfo
from promptmill.workers.sinks.rows import RESULT_FIELDS, ColumnType, ResultRow

RESULT_COLUMNS = (
    ("run", "text NOT NULL"),
    ("key", "text NOT NULL"),
    ("row", "bigint NOT NULL"),
    ("state", "text NOT NULL"),
    ("text", "text"),
    ("parsed", "jsonb"),
    ("finish_reason", "text"),
    ("error_reason", "text"),
    ("error_message", "text"),
    ("usage", "jsonb"),
    ("metadata", "jsonb"),
    ("content", "jsonb"),
    ("attempt", "integer NOT NULL"),
    ("model_version", "text"),
    ("nul_replaced", "boolean NOT NULL DEFAULT false"),
    ("delivered_at", "timestamp with time zone DEFAULT now()"),
)
"""The columns of a table that is made for a run. Of one that is there, those are filled that it has."""
REJECTED_COLUMNS = (
    ("run", "text"),
    ("key", "text"),
    ("part", "text NOT NULL"),
    ("reason", "text"),
    ("result", "text"),
)
"""The columns of the table of rows that do not fit."""
VALUE_GETTERS: dict[str, Callable[[ResultRow], Any]] = {
    field.name: field.get_value for field in RESULT_FIELDS
}
_COLUMN_TYPES: dict[str, ColumnType] = {
    "run": "text",
    "nul_replaced": "truth",
    **{field.name: field.column_type for field in RESULT_FIELDS},
}
_KEY_COLUMNS = ("run", "key")
_TYPE_CATEGORIES: dict[ColumnType, str] = {"text": "SE", "number": "N", "json": "S", "truth": "B"}
"""PostgreSQL's categories of types that take a form: S strings, E enums, N numbers, B booleans."""
_TYPE_NAMES: dict[ColumnType, tuple[str, ...]] = {
    "text": ("uuid",),
    "number": (),
    "json": ("json", "jsonb"),
    "truth": (),
}
_SUGGESTED_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "number": "bigint",
    "json": "jsonb",
    "truth": "boolean",
}


class WritePlan(NamedTuple):
    """What is written: the table's columns of ours, and those that are filled from properties of parsed answers."""

    result_names: tuple[str, ...]
    property_columns: tuple[Column, ...]
    written_columns: tuple[Column, ...]
    compared_columns: tuple[Column, ...]

    @property
    def column_names(self) -> list[str]:
        """The names of all columns that are filled, in the order of their values."""
        return [column.name for column in self.written_columns]


def property_candidates(table: TableInfo) -> list[Column]:
    """Return the columns that properties of parsed answers may fill, if they have their names."""
    return [
        column
        for column in table.columns
        if column.name not in _COLUMN_TYPES and column.writable and not column.missing_privileges
    ]


def plan_write(table: TableInfo, properties: Collection[str]) -> WritePlan:
    """Return what is written into a table when these are the properties of parsed answers.

    A row is written again only when one of our columns differs, so that a delivery which is repeated changes nothing.
    """
    result_columns = [column for column in table.columns if column.name in _COLUMN_TYPES]
    property_columns = [
        column for column in property_candidates(table) if column.name in properties
    ]
    compared_columns = [column for column in result_columns if column.name not in _KEY_COLUMNS]
    return WritePlan(
        tuple(column.name for column in result_columns),
        tuple(property_columns),
        (*result_columns, *property_columns),
        tuple(compared_columns),
    )


def find_problems(name: str, table: TableInfo) -> list[str]:
    """Say what keeps rows from being written into a table, each with the SQL that mends it."""
    if table.kind not in "rp":
        return [f"{name} is no table, but a view or another relation"]
    return [*_find_key_problems(name, table), *_find_column_problems(name, table)]


def rejected_table_name(table: str) -> str:
    """Return the name of the table of rows that do not fit; names may have 63 bytes."""
    schema, dot, name = table.rpartition(".")
    return f"{schema}{dot}{name[:54]}_rejected"


def rejected_table_sql(table: str) -> str:
    """Return the SQL that makes the table of rows that do not fit."""
    definitions = ", ".join(f"{name} {type_name}" for name, type_name in REJECTED_COLUMNS)
    return f"CREATE TABLE {_quote_name(rejected_table_name(table))} ({definitions}, PRIMARY KEY (run, key))"


def _find_key_problems(name: str, table: TableInfo) -> Iterator[str]:
    existing_names = {column.name for column in table.columns}
    missing_names = [column for column in _KEY_COLUMNS if column not in existing_names]
    for column in missing_names:
        yield f"column {column} is missing: ALTER TABLE {_quote_name(name)} ADD COLUMN {column} text"
    if missing_names or not table.has_unique_key:
        yield f"(run, key) is not unique: CREATE UNIQUE INDEX ON {_quote_name(name)} (run, key)"


def _find_column_problems(name: str, table: TableInfo) -> Iterator[str]:
    alter_table = f"ALTER TABLE {_quote_name(name)}"
    for column in table.columns:
        column_type, quoted_column = _COLUMN_TYPES.get(column.name), _quote_name(column.name)
        if column_type is None and column.required:
            yield f"column {column.name} would stay empty in failed rows: {alter_table} ALTER COLUMN {quoted_column} DROP NOT NULL"
        if column_type is None:
            continue
        if not _is_compatible(column, column_type):
            change = f"TYPE {_SUGGESTED_TYPES[column_type]} USING {quoted_column}::text::{_SUGGESTED_TYPES[column_type]}"
            yield f"column {column.name} is {column.type}: {alter_table} ALTER COLUMN {quoted_column} {change}"
        if not column.writable:
            yield f"column {column.name} is filled by the database: {alter_table} DROP COLUMN {quoted_column}"
        if column.missing_privileges:
            grant = f"GRANT {', '.join(column.missing_privileges)} ON {_quote_name(name)} TO {_quote_name(table.role)}"
            yield f"column {column.name} may not be used: {grant}"


def _is_compatible(column: Column, column_type: ColumnType) -> bool:
    if column.name == "key" and column.type_category == "N":
        return True  # keys may be numbers; those that are not are set apart
    return (
        column.type_category in _TYPE_CATEGORIES[column_type]
        or column.type_name in _TYPE_NAMES[column_type]
    )


def _quote_name(name: str) -> str:
    return ".".join(
        f'"{part}"' if not part.isidentifier() or part != part.lower() else part
        for part in name.split(".")
    )
