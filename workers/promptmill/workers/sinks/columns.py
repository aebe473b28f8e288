"""Which columns of a table are filled with what, and what must be mended before anything can be."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from promptmill.workers.ports.database import Column, Table
from promptmill.workers.sinks.rows import FIELDS, Form, Row

OWN = (
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
APART = (("run", "text"), ("key", "text"), ("part", "text NOT NULL"), ("reason", "text"), ("result", "text"))
"""The columns of the table of rows that do not fit."""
FILL: dict[str, Callable[[Row], Any]] = {field.name: field.fill for field in FIELDS}
_FORMS: dict[str, Form] = {"run": "text", "nul_replaced": "truth", **{field.name: field.form for field in FIELDS}}
_KEY = ("run", "key")
_CATEGORIES: dict[Form, str] = {"text": "SE", "number": "N", "json": "S", "truth": "B"}
"""PostgreSQL's categories of types that take a form: S strings, E enums, N numbers, B booleans."""
_BASES: dict[Form, tuple[str, ...]] = {"text": ("uuid",), "number": (), "json": ("json", "jsonb"), "truth": ()}
_WANTED: dict[Form, str] = {"text": "text", "number": "bigint", "json": "jsonb", "truth": "boolean"}


class Plan(NamedTuple):
    """What is written: the table's columns of ours, and those that are filled from properties of parsed answers."""

    own: tuple[str, ...]
    properties: tuple[Column, ...]
    filled: tuple[Column, ...]
    compared: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """The names of all columns that are filled, in the order of their values."""
        return [column.name for column in self.filled]


def candidates(table: Table) -> list[Column]:
    """Return the columns that properties of parsed answers may fill, if they have their names."""
    return [column for column in table.columns if column.name not in _FORMS and column.writable and not column.lacks]


def plan(table: Table, properties: Collection[str]) -> Plan:
    """Return what is written into a table when these are the properties of parsed answers.

    A row is written again only when one of our columns differs, so that a delivery which is repeated changes nothing.
    """
    own = [column for column in table.columns if column.name in _FORMS]
    more = [column for column in candidates(table) if column.name in properties]
    compared = [column for column in own if column.name not in _KEY]
    return Plan(tuple(column.name for column in own), tuple(more), (*own, *more), tuple(compared))


def complaints(name: str, table: Table) -> list[str]:
    """Say what keeps rows from being written into a table, each with the SQL that mends it."""
    if table.kind not in "rp":
        return [f"{name} is no table, but a view or another relation"]
    return [*_missing(name, table), *_of_columns(name, table)]


def apart(table: str) -> str:
    """Return the name of the table of rows that do not fit; names may have 63 bytes."""
    schema, dot, name = table.rpartition(".")
    return f"{schema}{dot}{name[:54]}_rejected"


def sql_of_apart(table: str) -> str:
    """Return the SQL that makes the table of rows that do not fit."""
    described = ", ".join(f"{name} {kind}" for name, kind in APART)
    return f"CREATE TABLE {_quoted(apart(table))} ({described}, PRIMARY KEY (run, key))"


def _missing(name: str, table: Table) -> Iterator[str]:
    there = {column.name for column in table.columns}
    lacking = [column for column in _KEY if column not in there]
    for column in lacking:
        yield f"column {column} is missing: ALTER TABLE {_quoted(name)} ADD COLUMN {column} text"
    if lacking or not table.unique:
        yield f"(run, key) is not unique: CREATE UNIQUE INDEX ON {_quoted(name)} (run, key)"


def _of_columns(name: str, table: Table) -> Iterator[str]:
    alter = f"ALTER TABLE {_quoted(name)}"
    for column in table.columns:
        form, quoted = _FORMS.get(column.name), _quoted(column.name)
        if form is None and column.required:
            yield f"column {column.name} would stay empty in failed rows: {alter} ALTER COLUMN {quoted} DROP NOT NULL"
        if form is None:
            continue
        if not _fits(column, form):
            change = f"TYPE {_WANTED[form]} USING {quoted}::text::{_WANTED[form]}"
            yield f"column {column.name} is {column.type}: {alter} ALTER COLUMN {quoted} {change}"
        if not column.writable:
            yield f"column {column.name} is filled by the database: {alter} DROP COLUMN {quoted}"
        if column.lacks:
            grant = f"GRANT {', '.join(column.lacks)} ON {_quoted(name)} TO {_quoted(table.role)}"
            yield f"column {column.name} may not be used: {grant}"


def _fits(column: Column, form: Form) -> bool:
    if column.name == "key" and column.category == "N":
        return True  # keys may be numbers; those that are not are set apart
    return column.category in _CATEGORIES[form] or column.base in _BASES[form]


def _quoted(name: str) -> str:
    return ".".join(
        f'"{part}"' if not part.isidentifier() or part != part.lower() else part for part in name.split(".")
    )
