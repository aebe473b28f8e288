"""Columns of PostgreSQL for the top-level properties of a response schema."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_MAX_COLUMNS = 500
"""Columns; a table of PostgreSQL has at most 1,600."""
_POSTGRES_TYPES = {"string": "text", "integer": "bigint", "number": "numeric", "boolean": "boolean"}


def columns_for_schema(
    schema: Mapping[str, Any] | None, reserved_names: frozenset[str]
) -> list[tuple[str, str]]:
    """Return names and types of columns for the properties that a JSON Schema names, save names that are ``reserved_names``.

    All may be null: a row that failed has none. What is no text, number or boolean is ``jsonb``.
    """
    if not schema:
        return []
    properties = _resolve_reference(schema, schema).get("properties") or {}
    valid_names = [
        name for name in properties if _COLUMN_NAME.fullmatch(name) and name not in reserved_names
    ]
    return [(name, _column_type(properties[name], schema)) for name in valid_names[:_MAX_COLUMNS]]


def _column_type(property_schema: Any, schema: Mapping[str, Any]) -> str:
    json_types = {
        json_type for json_type in _json_types(property_schema, schema) if json_type != "null"
    }
    if json_types == {"integer", "number"}:
        return "numeric"
    return _POSTGRES_TYPES.get(json_types.pop(), "jsonb") if len(json_types) == 1 else "jsonb"


def _json_types(property_schema: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the JSON types that a value may have, as far as the schema says so."""
    resolved = _resolve_reference(property_schema, schema)
    declared = resolved.get("type")
    if declared:
        yield from [declared] if isinstance(declared, str) else declared
        return
    for choice in resolved.get("anyOf") or [{}]:
        json_type = _resolve_reference(choice, schema).get("type")
        yield json_type if isinstance(json_type, str) else "any"


def _resolve_reference(property_schema: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow one reference into the schema's own definitions; what is none describes itself."""
    if not isinstance(property_schema, Mapping):
        return {}
    reference = str(property_schema.get("$ref", ""))
    if reference.startswith("#/$defs/"):
        definition = (schema.get("$defs") or {}).get(reference.removeprefix("#/$defs/"))
        return definition if isinstance(definition, Mapping) else {}
    return property_schema
