"""Checks that every field has one type in the whole run.

The batch importer gives each field one type in the whole file, like a BigQuery load. A
field with several types fails the job before any request is answered. ``type`` in JSON
schemas, a string or a list, is an example. Google does not document this; it was
observed.
"""

from collections.abc import Mapping
from typing import Any

MAX_FIELDS = 10_000
"""BigQuery's limit of columns, including nested ones. It also bounds memory here."""

_TypesByPath = dict[str, str]
"""Type of the value by the path of its field."""


class FieldTypes:
    """Field types of the admitted requests, and the first row with each field."""

    def __init__(self) -> None:
        self._types: _TypesByPath = {}
        self._first_rows: dict[str, int] = {}

    def admit_request(self, row: int, request: object) -> str:
        """Record the field types of a request; return "" if they fit the earlier ones.

        Otherwise return the reason, and record nothing.
        """
        types: _TypesByPath = {}
        if refusal := _collect_types(request, "request", types):
            return refusal
        if types.items() <= self._types.items():
            return ""
        return self._find_conflict(types) or self._record_types(row, types)

    def _find_conflict(self, types: _TypesByPath) -> str:
        for path, field_type in types.items():
            earlier_type = self._types.get(path, field_type)
            if earlier_type != field_type:
                return (
                    f"{path} is {field_type} here and {earlier_type} "
                    f"in row {self._first_rows[path]}; {_ONE_TYPE}"
                )
        return ""

    def _record_types(self, row: int, types: _TypesByPath) -> str:
        new_paths = types.keys() - self._types.keys()
        if len(self._types) + len(new_paths) > MAX_FIELDS:
            return (
                f"with this row the run has more than {MAX_FIELDS:,} different fields, "
                "which Vertex's importer refuses; use fewer field names"
            )
        self._types |= types
        self._first_rows |= dict.fromkeys(new_paths, row)
        return ""


_ONE_TYPE = "a field must have one type in the whole job, or Vertex's importer refuses the job"


# Returns a reason if a field has two types.
def _collect_types(value: Any, path: str, types: _TypesByPath) -> str:
    field_type = _TYPE_NAMES.get(type(value)) or _field_type(value)
    if field_type and types.setdefault(path, field_type) != field_type:
        return f"{path} is both {field_type} and {types[path]}; {_ONE_TYPE}"
    if field_type == _OBJECT:
        for name, item in value.items():
            if refusal := _collect_types(item, f"{path}.{name}", types):
                return refusal
    elif field_type == _LIST:
        item_path = path + "[]"
        for item in value:
            if refusal := _collect_types(item, item_path, types):
                return refusal
    return ""


_OBJECT, _LIST, _TEXT, _NUMBER = "an object", "a list", "text", "a number"
_TYPE_NAMES = {
    dict: _OBJECT,
    list: _LIST,
    str: _TEXT,
    int: _NUMBER,
    float: _NUMBER,
    bool: "true or false",
}
"""Names of the common types. ``isinstance`` would be several times slower."""


def _field_type(value: object) -> str:
    if isinstance(value, Mapping):
        return _OBJECT
    type_names = {list: _LIST, tuple: _LIST, str: _TEXT, int: _NUMBER, float: _NUMBER}
    return next((kind for base, kind in type_names.items() if isinstance(value, base)), "")
