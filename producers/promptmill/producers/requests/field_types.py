"""Checks that every field has one type in the whole run.

The batch importer gives each field one type in the whole file, like a BigQuery load. A
field with several types fails the job before any request is answered. ``type`` in JSON
schemas, a string or a list, is an example. Google does not document this; it was
observed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from promptmill.producers.requests.converted_texts import RowTexts, is_converted

MAX_FIELDS = 10_000
"""BigQuery's limit of columns, including nested ones. It also bounds memory here."""

_TypesByPath = dict[str, str]
"""Type of the value by the path of its field."""


class Admission(NamedTuple):
    """Whether a request fits the earlier ones of its run.

    ``refusal`` is the reason if not, or empty. ``texts`` are set if the importer could
    convert a text of the request.
    """

    refusal: str = ""
    texts: RowTexts | None = None


class FieldTypes:
    """Field types of the admitted requests, and the first row with each field.

    ``plain_paths`` are the fields that the importer keeps as text.
    """

    def __init__(self) -> None:
        self._types: _TypesByPath = {}
        self._first_rows: dict[str, int] = {}
        self.plain_paths: set[str] = set()

    def admit_text(self, path: str, text: str) -> RowTexts | None:
        """Record a prompt; return its text if the importer could convert it."""
        if is_converted(text):
            return RowTexts(frozenset(), {path: text})
        self.plain_paths.add(path)
        return None

    def admit_request(self, row: int, request: object) -> Admission:
        """Record the field types of a request, if they fit the earlier ones."""
        types: _TypesByPath = {}
        texts: dict[str, str] = {}
        refusal = self._collect_types(request, "request", types, texts)
        if not refusal and not types.items() <= self._types.items():
            refusal = self._find_conflict(types) or self._record_types(row, types)
        if refusal or not texts:
            return Admission(refusal)
        return self._admit_texts(texts)

    def _admit_texts(self, texts: dict[str, str]) -> Admission:
        converted = {path: text for path, text in texts.items() if text}
        if converted:
            return Admission("", RowTexts(frozenset(texts.keys() - converted.keys()), converted))
        self.plain_paths.update(texts)
        return Admission()

    def _find_conflict(self, types: _TypesByPath) -> str:
        for path, field_type in types.items():
            earlier_type = self._types.get(path, field_type)
            if earlier_type != field_type:
                return (
                    f"{path} is {field_type} here and {earlier_type} "
                    f"in row {self._first_rows[path]}; {_ONE_TYPE}"
                )
        return self._find_null_list(types)

    # "Only optional fields can be set to NULL" (observed live); a list is not optional.
    def _find_null_list(self, types: _TypesByPath) -> str:
        for field in {path.removesuffix(_NULL) for path in types}:
            is_list = (types.get(field) or self._types.get(field)) == _LIST
            if is_list and (field + _NULL in types or field + _NULL in self._types):
                return f"{field} is null in one row and a list in another; leave null fields out"
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

    # Returns a reason if a field has two types.
    def _collect_types(
        self, value: Any, path: str, types: _TypesByPath, texts: dict[str, str]
    ) -> str:
        if value is None:
            types[path + _NULL] = _NULL
            return ""
        field_type = _TYPE_NAMES.get(type(value)) or _field_type(value)
        if field_type and types.setdefault(path, field_type) != field_type:
            return f"{path} is both {field_type} and {types[path]}; {_ONE_TYPE}"
        if field_type == _TEXT and path not in self.plain_paths:
            _note_text(texts, path, value)
        elif field_type == _OBJECT:
            for name, item in value.items():
                if refusal := self._collect_types(item, f"{path}.{name}", types, texts):
                    return refusal
        elif field_type == _LIST:
            item_path = path + "[]"
            for item in value:
                if refusal := self._collect_types(item, item_path, types, texts):
                    return refusal
        return ""


def _note_text(texts: dict[str, str], path: str, text: str) -> None:
    """Note a text that could be converted; "" for a field with a text that is kept."""
    if is_converted(text):
        texts.setdefault(path, text)
    elif text.strip():
        texts[path] = ""


_ONE_TYPE = "a field must have one type in the whole job, or Vertex's importer refuses the job"


_OBJECT, _LIST, _TEXT, _NUMBER = "an object", "a list", "text", "a number"
_NULL = "=null"
"""Ends the path of a field that is null. No name contains it."""
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
