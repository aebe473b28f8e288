"""What kind of value every field has over a whole run.

The batch importer gives each field one type over the whole file, as a BigQuery load does; a field that is a list in one
line and a string in another, as ``type`` in JSON schemas may be, fails the job before anything is answered. None of that
is in Google's documentation; it was seen in the field.
"""

from collections.abc import Mapping
from typing import Any

MAX_FIELDS = 10_000
"""BigQuery's limit of columns, nested ones counted; it bounds what is held here, too."""

_Found = dict[str, str]
"""The kind of value by the path of its field."""


class Kinds:
    """The kinds of the requests that were let through so far, with the row that showed each first."""

    def __init__(self) -> None:
        self._kinds: _Found = {}
        self._rows: dict[str, int] = {}

    def admit(self, row: int, request: object) -> str:
        """Return why ``request`` would not fit in one file with those before it; take note of it when it does."""
        kinds: _Found = {}
        if refusal := _visit(request, "request", kinds):
            return refusal
        if kinds.items() <= self._kinds.items():
            return ""
        return self._clash(kinds) or self._note(row, kinds)

    def _clash(self, kinds: _Found) -> str:
        for path, kind in kinds.items():
            known = self._kinds.get(path, kind)
            if known != kind:
                return f"{path} is {kind} here and {known} in row {self._rows[path]}; {_ONE_TYPE}"
        return ""

    def _note(self, row: int, kinds: _Found) -> str:
        new = kinds.keys() - self._kinds.keys()
        if len(self._kinds) + len(new) > MAX_FIELDS:
            return (
                f"with this row the run has more than {MAX_FIELDS:,} different fields, which Vertex's importer refuses"
            )
        self._kinds |= kinds
        self._rows |= dict.fromkeys(new, row)
        return ""


_ONE_TYPE = "Vertex's importer gives a field one type over the whole job, and refuses the job"


def _visit(value: Any, path: str, kinds: _Found) -> str:
    """Note the kind of ``value`` and of every field below it; returns why not, where one has several."""
    kind = _KINDS.get(type(value)) or _kind(value)
    if kind and kinds.setdefault(path, kind) != kind:
        return f"{path} holds {kind} as well as {kinds[path]}; {_ONE_TYPE}"
    if kind == _OBJECT:
        for name, item in value.items():
            if refusal := _visit(item, f"{path}.{name}", kinds):
                return refusal
    elif kind == _LIST:
        below = path + "[]"
        for item in value:
            if refusal := _visit(item, below, kinds):
                return refusal
    return ""


_OBJECT, _LIST, _TEXT, _NUMBER = "an object", "a list", "text", "a number"
_KINDS = {dict: _OBJECT, list: _LIST, str: _TEXT, int: _NUMBER, float: _NUMBER, bool: "true or false"}
"""Of the types that there mostly are; to ask what a value is an instance of takes several times as long."""


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return _OBJECT
    kinds = {list: _LIST, tuple: _LIST, str: _TEXT, int: _NUMBER, float: _NUMBER}
    return next((kind for base, kind in kinds.items() if isinstance(value, base)), "")
