"""The columns of an input file: one type per path of names, the same over the whole file.

Google's importer works like a BigQuery load. Its messages were observed live, 2026-09.
"""

import math
import re
from collections.abc import Iterator

from .json_types import JsonObject

MAX_DEPTH = 15
MAX_COLUMNS = 10_000
"""BigQuery's limit on the columns of a table."""

NUMBER, BOOLEAN, NUMERIC_TEXT, BOOLEAN_TEXT, TEXT, WHOLE_FLOAT = (1 << bit for bit in range(6))
"""Kinds of scalar values. A column has the union of those of its values."""

BOOLEANS = {"true": True, "t": True, "yes": True, "y": True} | dict.fromkeys(
    ("false", "f", "no", "n"), False
)
"""Strings that the importer reads as booleans, in any case."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}|[0-9]{1,300}")
_NUMERIC = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class ImportFailed(Exception):
    """A file that the importer rejects; the text is Google's."""


class Column:
    """One path: `kind` is scalar, record, array or unknown; `scalars` the kinds of values."""

    __slots__ = ("depth", "fields", "items", "kind", "name", "path", "scalars")

    def __init__(self, name: str, path: str, depth: int) -> None:
        self.name = name
        self.path = path
        self.depth = depth
        self.kind = ""
        self.scalars = 0
        self.fields: dict[str, Column] = {}
        self.items: Column | None = None

    def set_kind(self, kind: str) -> None:
        """Raise ImportFailed if other values of this path are of another kind."""
        if self.kind and self.kind != kind:
            if "array" in (self.kind, kind):
                raise ImportFailed(
                    f"Repeated field must be imported as a JSON array. Field: {self.path}"
                )
            raise ImportFailed(f"This field: {self.path} is not a record.")
        self.kind = kind


class Columns:
    """All columns of a file, inferred row by row."""

    def __init__(self) -> None:
        self._count = 0
        self.fields: dict[str, Column] = {}

    def add_row(self, row: JsonObject) -> None:
        """Infer columns from one row. Raises ImportFailed if the row does not fit them."""
        for name, value in row.items():
            column = self.fields.get(name) or self._add_column(self.fields, name, "", 0)
            self._add_value(column, value)

    def _add_value(self, column: Column, value: object) -> None:
        if isinstance(value, str):
            if column.kind != "scalar":
                column.set_kind("scalar")
            if not column.scalars & TEXT:
                column.scalars |= classify_text(value)
        elif isinstance(value, dict):
            self._add_record(column, value)
        elif isinstance(value, list):
            self._add_items(column, value)
        elif value is not None:
            column.set_kind("scalar")
            column.scalars |= _classify_scalar(value)

    def _add_record(self, column: Column, record: JsonObject) -> None:
        column.set_kind("record")
        if column.depth > MAX_DEPTH:
            raise ImportFailed(
                f"Schema nested too deeply, at least {column.depth} compared to the maximum "
                f"allowed level of {MAX_DEPTH}"
            )
        if not record:
            raise ImportFailed(f"Cannot store struct '{column.path}' with no fields")
        fields, path, depth = column.fields, column.path, column.depth
        for name, value in record.items():
            self._add_value(
                fields.get(name) or self._add_column(fields, name, f"{path}.", depth), value
            )

    def _add_items(self, column: Column, items: list[object]) -> None:
        column.set_kind("array")
        if column.items is None:
            column.items = Column(column.name, column.path, column.depth)
        for item in items:
            if item is None:
                raise ImportFailed(f"Only optional fields can be set to NULL. Field: {column.name}")
            if isinstance(item, list):
                raise ImportFailed(f"Array inside an array. Field: {column.path}")
            self._add_value(column.items, item)

    def _add_column(self, fields: dict[str, Column], name: str, prefix: str, depth: int) -> Column:
        if not _NAME.fullmatch(name):
            raise ImportFailed(
                "Please check 'Prepare input' section of the batch predictions documentation. "
                f'Invalid field name "{name}".'
            )
        self._count += 1
        if self._count > MAX_COLUMNS:
            raise ImportFailed(f"Too many total leaf fields: {self._count}")
        column = fields[name] = Column(name, f"{prefix}{name}", depth + 1)
        return column


def walk_columns(fields: dict[str, Column]) -> Iterator[Column]:
    """Yield all columns; the items of an array in place of it."""
    for column in fields.values():
        target = column.items or column
        yield target
        yield from walk_columns(target.fields)


def classify_text(text: str) -> int:
    """Return the kind of a string: NUMERIC_TEXT, BOOLEAN_TEXT or TEXT."""
    if len(text) <= 5 and text.lower() in BOOLEANS:
        return BOOLEAN_TEXT
    is_number = text[-1:] in "0123456789." and bool(_NUMERIC.fullmatch(text))
    return NUMERIC_TEXT if is_number and math.isfinite(float(text)) else TEXT


def _classify_scalar(value: object) -> int:
    if isinstance(value, bool):
        return BOOLEAN
    is_whole = isinstance(value, float) and value.is_integer()
    return NUMBER | WHOLE_FLOAT if is_whole else NUMBER
