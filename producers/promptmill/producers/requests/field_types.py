"""What kind of value every field has over a whole run.

The batch importer gives each field one type over the whole file, as a BigQuery load does; a field that is a list in one
line and a string in another, as ``type`` in JSON schemas may be, fails the job before anything is answered. None of that
is in Google's documentation; it was seen in the field.
"""

from collections.abc import Mapping
from typing import Any

MAX_FIELDS = 10_000
"""BigQuery's limit of columns, nested ones counted; it bounds what is held here, too."""

_TypesByPath = dict[str, str]
"""The kind of value by the path of its field."""


class FieldTypes:
    """The kinds of the requests that were let through so far, with the row that showed each first."""

    def __init__(self) -> None:
        self._types: _TypesByPath = {}
        self._first_rows: dict[str, int] = {}

    def admit_request(self, row: int, request: object) -> str:
        """Return why ``request`` would not fit in one file with those before it; take note of it when it does."""
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
                return f"{path} is {field_type} here and {earlier_type} in row {self._first_rows[path]}; {_ONE_TYPE}"
        return ""

    def _record_types(self, row: int, types: _TypesByPath) -> str:
        new_paths = types.keys() - self._types.keys()
        if len(self._types) + len(new_paths) > MAX_FIELDS:
            return f"with this row the run has more than {MAX_FIELDS:,} different fields, which Vertex's importer refuses"
        self._types |= types
        self._first_rows |= dict.fromkeys(new_paths, row)
        return ""


_ONE_TYPE = "Vertex's importer gives a field one type over the whole job, and refuses the job"


def _collect_types(value: Any, path: str, types: _TypesByPath) -> str:
    """Note the kind of ``value`` and of every field below it; returns why not, where one has several."""
    field_type = _TYPE_NAMES.get(type(value)) or _field_type(value)
    if field_type and types.setdefault(path, field_type) != field_type:
        return f"{path} holds {field_type} as well as {types[path]}; {_ONE_TYPE}"
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
"""Of the types that there mostly are; to ask what a value is an instance of takes several times as long."""


def _field_type(value: object) -> str:
    if isinstance(value, Mapping):
        return _OBJECT
    type_names = {list: _LIST, tuple: _LIST, str: _TEXT, int: _NUMBER, float: _NUMBER}
    return next((kind for base, kind in type_names.items() if isinstance(value, base)), "")
