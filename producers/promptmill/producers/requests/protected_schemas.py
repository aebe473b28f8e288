"""Protects schemas from the importer's type conversion.

Names such as ``y`` in ``required``, or an enum of "1" and "2", would become booleans or
numbers, and Gemini would refuse the row; see ``converted_texts``. Each node of the
schema is made safe on its own: such values move into its description.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from promptmill.producers.requests.converted_texts import is_converted

_DESCRIBED = {
    "required": "Required",
    "propertyOrdering": "In this order",
    "property_ordering": "In this order",
    "enum": "One of",
    "const": "Exactly",
    "default": "Default",
    "example": "Example",
    "examples": "Examples",
    "title": "Title",
    "format": "Format",
}
"""Keywords that hold texts, and how the description calls them."""
_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
    | {"min_items", "max_items", "min_length", "max_length", "min_properties", "max_properties"}
)
"""64-bit integers, which Google writes as texts."""
_encode = msgspec.json.Encoder().encode
_MAX_CACHED = 1_000


class SchemaProtector:
    """Protects the requests' own schemas. Equal schemas are rewritten once."""

    def __init__(self) -> None:
        self._cache: dict[bytes, Any] = {}

    def protect_schema(self, schema: object) -> Any:
        """Return ``protect_schema`` of an earlier equal schema, or of this one."""
        encoded = _encode(schema)
        if encoded not in self._cache:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[encoded] = protect_schema(schema)
        return self._cache[encoded]


def protect_schema(schema: Any) -> Any:
    """Return a schema with the same meaning whose texts are not converted."""
    if not isinstance(schema, Mapping):
        return schema
    moved = {name: texts for name in schema if (texts := _moved_texts(name, schema[name]))}
    protected = {
        name: _protect_keyword(name, value) for name, value in schema.items() if name not in moved
    }
    if "enum" in moved and protected.get("format") == "enum":
        del protected["format"]
    return protected | _describe_moved(protected.get("description"), moved)


def _moved_texts(name: str, value: Any) -> list[str]:
    """Return the texts of a keyword that moves into the description, or none."""
    texts = value if isinstance(value, list | tuple) else [value]
    is_moved = name in _DESCRIBED and all(
        isinstance(text, str) and is_converted(text) for text in texts
    )
    return list(texts) if is_moved else []


def _describe_moved(description: Any, moved: Mapping[str, list[str]]) -> dict[str, str]:
    sentences = [f"{_DESCRIBED[name]}: {', '.join(texts)}." for name, texts in moved.items()]
    if not sentences:
        return {}
    return {"description": " ".join([*([str(description)] if description else []), *sentences])}


def _protect_keyword(name: str, value: Any) -> Any:
    protect = _KEYWORDS.get(name)
    return protect(value) if protect else value


def _protect_mapping(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: protect_schema(schema) for name, schema in value.items()}


def _protect_list(value: Any) -> Any:
    return [protect_schema(item) for item in value] if isinstance(value, list | tuple) else value


def _protect_description(text: Any) -> Any:
    return f"Meaning: {text}" if isinstance(text, str) and is_converted(text) else text


def _protect_pattern(pattern: Any) -> Any:
    return f"({pattern})" if isinstance(pattern, str) and is_converted(pattern) else pattern


def _read_count(count: Any) -> Any:
    return int(count) if isinstance(count, str) and count.isascii() and count.isdigit() else count


_KEYWORDS: dict[str, Callable[[Any], Any]] = {
    "properties": _protect_mapping,
    "defs": _protect_mapping,
    "definitions": _protect_mapping,
    "anyOf": _protect_list,
    "any_of": _protect_list,
    "oneOf": _protect_list,
    "allOf": _protect_list,
    "prefixItems": _protect_list,
    "prefix_items": _protect_list,
    "items": protect_schema,
    "additionalProperties": protect_schema,
    "additional_properties": protect_schema,
    "not": protect_schema,
    "description": _protect_description,
    "pattern": _protect_pattern,
} | dict.fromkeys(_COUNTS, _read_count)
