"""What the importer makes of the values of a file, and what Gemini then refuses.

A path whose strings are all numbers, or all booleans, gets numbers or booleans. One
string that is surely text keeps the whole path as text. Observed live, 2026-10; that
one string is enough is an inference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .columns import (
    BOOLEAN,
    BOOLEAN_TEXT,
    BOOLEANS,
    NUMBER,
    NUMERIC_TEXT,
    TEXT,
    WHOLE_FLOAT,
    Column,
    classify_text,
)
from .request_fields import to_snake_case
from .string_fields import is_json_schema, is_string_field

_INT64 = 1 << 63
Convert = Callable[[object], object]


@dataclass(frozen=True)
class Conversion:
    """What happens to the values of one path; `fields` has the paths below it.

    Of `is_string` paths Gemini accepts only strings. With a `bad_name` the importer reads
    the last name of the path as a number or boolean, so Gemini refuses every row with it.
    """

    fields: Mapping[str, "Conversion"] = field(default_factory=dict)
    convert: Convert | None = None
    is_string: bool = False
    bad_name: bool = False

    def apply(self, value: object) -> object:
        """Return the value as imported. Objects are changed in place."""
        if isinstance(value, dict):
            for name, conversion in self.fields.items():
                if name in value:
                    value[name] = conversion.apply(value[name])
            return value
        if isinstance(value, list):
            return [self.apply(item) for item in value]
        return self.convert(value) if self.convert else value

    def find_refusal(self, value: object, path: str) -> str:
        """Return Google's message for the first converted name or string at a path, or ""."""
        if isinstance(value, dict):
            refusals = (
                conversion._refuse_field(name, value[name], path)
                for name, conversion in self.fields.items()
                if name in value
            )
        elif isinstance(value, list):
            refusals = (
                self.find_refusal(item, f"{path}[{index}]") for index, item in enumerate(value)
            )
        else:
            return self._refuse_scalar(value, path)
        return next(filter(None, refusals), "")

    def _refuse_field(self, name: str, value: object, path: str) -> str:
        if self.bad_name:
            return f"Invalid value at '{path}[].key' (TYPE_STRING), {name}"
        field_path = f"{path}.{to_snake_case(name)}" if path else to_snake_case(name)
        return self.find_refusal(value, field_path)

    def _refuse_scalar(self, value: object, path: str) -> str:
        if not self.is_string or value is None or isinstance(value, str):
            return ""
        text = str(value).lower() if isinstance(value, bool) else value
        return f"Invalid value at '{path}' (TYPE_STRING), {text}"


def plan_conversions(columns: Mapping[str, Column]) -> Conversion | None:
    """Return the conversions of a file, or None if its values stay as they are."""
    fields = {name: _plan_column(column.items or column) for name, column in columns.items()}
    planned = {name: conversion for name, conversion in fields.items() if conversion}
    return Conversion(planned) if planned else None


def _plan_column(column: Column) -> Conversion | None:
    below = plan_conversions(column.fields)
    convert = _choose_conversion(column.scalars)
    is_string = is_string_field(column.path) and _has_other_values(column, convert)
    bad_name = column.path.startswith("request.") and classify_text(column.name) != TEXT
    if not (below or convert or is_string or bad_name):
        return None
    return Conversion(below.fields if below else {}, convert, is_string, bad_name)


def _has_other_values(column: Column, convert: Convert | None) -> bool:
    """Return whether a column has values that are no strings; JSON Schema allows own ones."""
    is_native = bool(column.scalars & (NUMBER | BOOLEAN)) and not is_json_schema(column.path)
    return is_native or convert in (_to_number, _to_boolean)


def _choose_conversion(scalars: int) -> Convert | None:
    texts = scalars & (TEXT | NUMERIC_TEXT | BOOLEAN_TEXT)
    if texts == NUMERIC_TEXT and not scalars & BOOLEAN:
        return _to_number
    if texts == BOOLEAN_TEXT and not scalars & NUMBER:
        return _to_boolean
    return _to_whole_number if scalars & WHOLE_FLOAT else None


def _to_number(value: object) -> object:
    """Convert a numeric string: "000000" becomes 0."""
    if not isinstance(value, str):
        return _to_whole_number(value)
    number = int(value) if value.lstrip("+-").isdecimal() else float(value)
    return _to_whole_number(number) if abs(number) < _INT64 else float(value)


def _to_boolean(value: object) -> object:
    return BOOLEANS[value.lower()] if isinstance(value, str) else value


def _to_whole_number(value: object) -> object:
    """Convert 1.0, which comes back as 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _INT64:
        return int(value)
    return value
