"""Which columns of a PostgreSQL table are written, and what keeps a table from being used."""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from promptmill.workers.ports.database import Column, TableInfo
from promptmill.workers.sinks.rows import OPTIONAL_FIELDS, RESULT_FIELDS, ColumnType, ResultRow

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
    ("response", "jsonb"),
    ("embedding", "real[]"),
    ("nul_replaced", "boolean NOT NULL DEFAULT false"),
    ("delivered_at", "timestamp with time zone DEFAULT now()"),
)
"""The columns of a new table. Of an existing table, those that it has are written."""
REJECTED_COLUMNS = (
    ("run", "text"),
    ("key", "text"),
    ("part", "text NOT NULL"),
    ("reason", "text"),
    ("result", "text"),
)
"""The columns of the table of rejected rows."""
VALUE_GETTERS: dict[str, Callable[[ResultRow], object]] = {
    field.name: field.get_value for field in RESULT_FIELDS
}
_COLUMN_TYPES: dict[str, ColumnType] = {
    "run": "text",
    "nul_replaced": "truth",
    **{field.name: field.column_type for field in RESULT_FIELDS},
}
_KEY_COLUMNS = ("run", "key")
_TYPE_CATEGORIES: dict[ColumnType, str] = {
    "text": "SE",
    "number": "N",
    "json": "S",
    "truth": "B",
    "numbers": "",
}
"""PostgreSQL's type categories: S strings, E enums, N numbers, B booleans."""
_TYPE_NAMES: dict[ColumnType, tuple[str, ...]] = {
    "text": ("uuid",),
    "number": (),
    "json": ("json", "jsonb"),
    "truth": (),
    "numbers": ("_float4", "_float8", "_numeric", "vector", "halfvec"),
}
_SUGGESTED_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "number": "bigint",
    "json": "jsonb",
    "truth": "boolean",
    "numbers": "real[]",
}


VECTOR_TYPE = "vector"
"""The type of pgvector (github.com/pgvector/pgvector)."""


def make_result_columns(vector_type: str) -> dict[str, str]:
    """Return the columns of a new table with their types. Without a vector type: an array."""
    return dict(RESULT_COLUMNS) | ({"embedding": vector_type} if vector_type else {})


class WritePlan(NamedTuple):
    """The columns to write: those of results, and those of properties of parsed answers.

    An existing row is written only if one of ``compared_columns`` differs, so a repeated
    delivery changes nothing.
    """

    result_names: tuple[str, ...]
    property_columns: tuple[Column, ...]
    written_columns: tuple[Column, ...]
    compared_columns: tuple[Column, ...]

    @property
    def column_names(self) -> list[str]:
        """The names of all written columns, in the order of their values."""
        return [column.name for column in self.written_columns]

    @property
    def array_position(self) -> int:
        """Which value is a vector for a column of an array type; -1 if none is."""
        for position, column in enumerate(self.written_columns[: len(self.result_names)]):
            if column.name == "embedding" and column.type_category == "A":
                return position
        return -1


def property_candidates(table: TableInfo) -> list[Column]:
    """Return the columns that properties of parsed answers may fill by their names."""
    return [
        column
        for column in table.columns
        if (column.name not in _COLUMN_TYPES or column.name in OPTIONAL_FIELDS)
        and column.writable
        and not column.missing_privileges
    ]


def plan_write(
    table: TableInfo, properties: Collection[str], filled: Collection[str] = ()
) -> WritePlan:
    """Return the columns to write when parsed answers have these properties.

    ``filled`` names the optional fields that the results have. A property goes before an
    optional field of the same name.
    """
    property_columns = [
        column for column in property_candidates(table) if column.name in properties
    ]
    result_names = (_COLUMN_TYPES.keys() - OPTIONAL_FIELDS) | (set(filled) - set(properties))
    result_columns = [column for column in table.columns if column.name in result_names]
    compared_columns = [column for column in result_columns if column.name not in _KEY_COLUMNS]
    return WritePlan(
        tuple(column.name for column in result_columns),
        tuple(property_columns),
        (*result_columns, *property_columns),
        tuple(compared_columns),
    )


def find_problems(
    name: str, table: TableInfo, filled: Collection[str] = (), dimensions: int = 0
) -> list[str]:
    """Return why rows cannot be written to a table, each with the SQL that fixes it.

    ``filled`` names the optional fields that the run fills. ``dimensions`` is the length of
    its embeddings; 0 if rows may have other lengths.
    """
    if table.kind not in "rp":
        return [f"{name} is not a table, but a view or another relation"]
    return [
        *_find_key_problems(name, table),
        *_find_column_problems(name, table, filled),
        *(_find_length_problems(name, table, dimensions) if "embedding" in filled else ()),
    ]


def rejected_table_name(table: str) -> str:
    """Return the name of the table of rejected rows. Names have at most 63 bytes."""
    schema, dot, name = table.rpartition(".")
    return f"{schema}{dot}{name[:54]}_rejected"


def rejected_table_sql(table: str) -> str:
    """Return the SQL that creates the table of rejected rows."""
    definitions = ", ".join(f"{name} {type_name}" for name, type_name in REJECTED_COLUMNS)
    name = _quote_name(rejected_table_name(table))
    return f"CREATE TABLE {name} ({definitions}, PRIMARY KEY (run, key))"


def _find_key_problems(name: str, table: TableInfo) -> Iterator[str]:
    existing_names = {column.name for column in table.columns}
    missing_names = [column for column in _KEY_COLUMNS if column not in existing_names]
    quoted_name = _quote_name(name)
    for column in missing_names:
        yield f"column {column} is missing: ALTER TABLE {quoted_name} ADD COLUMN {column} text"
    if missing_names or not table.has_unique_key:
        yield f"(run, key) is not unique: CREATE UNIQUE INDEX ON {quoted_name} (run, key)"


def _find_column_problems(name: str, table: TableInfo, filled: Collection[str]) -> Iterator[str]:
    alter_table = f"ALTER TABLE {_quote_name(name)}"
    for column in table.columns:
        column_type = _COLUMN_TYPES.get(column.name)
        is_own = column.name in OPTIONAL_FIELDS and column.name not in filled
        if column_type is not None and not is_own:
            yield from _find_result_column_problems(name, table.role, column, column_type)
        elif column.required:
            yield (
                f"column {column.name} would stay empty in failed rows: "
                f"{alter_table} ALTER COLUMN {_quote_name(column.name)} DROP NOT NULL"
            )


def _find_length_problems(name: str, table: TableInfo, dimensions: int) -> Iterator[str]:
    """Yield the problem of a vector column with another length than the run's embeddings."""
    for column in table.columns:
        _, _, length = column.type.partition("(")
        is_vector = column.name == "embedding" and column.type_name in ("vector", "halfvec")
        if is_vector and length and dimensions and length.rstrip(")") != str(dimensions):
            yield (
                f"column embedding is {column.type}, and the run asks for {dimensions:,} numbers: "
                f"set output_dimensionality to {length.rstrip(')')}, or ALTER TABLE "
                f"{_quote_name(name)} ALTER COLUMN embedding TYPE {column.type_name}({dimensions})"
            )


def _find_result_column_problems(
    table_name: str, role: str, column: Column, column_type: ColumnType
) -> Iterator[str]:
    alter_table = f"ALTER TABLE {_quote_name(table_name)}"
    name, quoted_name = column.name, _quote_name(column.name)
    if not _is_compatible(column, column_type):
        new_type = _SUGGESTED_TYPES[column_type]
        change = f"TYPE {new_type} USING {quoted_name}::text::{new_type}"
        yield f"column {name} is {column.type}: {alter_table} ALTER COLUMN {quoted_name} {change}"
    if not column.writable:
        yield f"column {name} is generated: {alter_table} DROP COLUMN {quoted_name}"
    if column.missing_privileges:
        grant = f"GRANT {', '.join(column.missing_privileges)} ON {_quote_name(table_name)}"
        yield f"column {name} lacks privileges: {grant} TO {_quote_name(role)}"


def _is_compatible(column: Column, column_type: ColumnType) -> bool:
    if column.name == "key" and column.type_category == "N":
        return True  # keys may be numbers; other keys become rejected rows
    return (
        column.type_category in _TYPE_CATEGORIES[column_type]
        or column.type_name in _TYPE_NAMES[column_type]
    )


def _quote_name(name: str) -> str:
    return ".".join(
        f'"{part}"' if not part.isidentifier() or part != part.lower() else part
        for part in name.split(".")
    )
