"""PostgreSQL columns for the top-level properties of a response schema.

Columns are nullable, as failed rows have no values. Anything but text, numbers and booleans
is ``jsonb``.
"""

import re
from collections.abc import Iterator, Mapping

_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_MAX_COLUMNS = 500
"""Maximum columns from a schema. A PostgreSQL table has at most 1,600."""
_POSTGRES_TYPES = {"string": "text", "integer": "bigint", "number": "numeric", "boolean": "boolean"}


def columns_for_schema(
    schema: Mapping[str, object] | None, reserved_names: frozenset[str]
) -> list[tuple[str, str]]:
    """Return column names and types for the properties of a schema, but ``reserved_names``."""
    if not schema:
        return []
    properties = _as_mapping(_resolve_reference(schema, schema).get("properties"))
    valid_names = [
        name for name in properties if _COLUMN_NAME.fullmatch(name) and name not in reserved_names
    ]
    return [(name, _column_type(properties[name], schema)) for name in valid_names[:_MAX_COLUMNS]]


def _column_type(property_schema: object, schema: Mapping[str, object]) -> str:
    json_types = {
        json_type for json_type in _json_types(property_schema, schema) if json_type != "null"
    }
    if json_types == {"integer", "number"}:
        return "numeric"
    return _POSTGRES_TYPES.get(json_types.pop(), "jsonb") if len(json_types) == 1 else "jsonb"


def _json_types(property_schema: object, schema: Mapping[str, object]) -> Iterator[str]:
    """Yield the JSON types that a value may have, and "any" where the schema is silent."""
    resolved = _resolve_reference(property_schema, schema)
    declared = resolved.get("type")
    if declared:
        yield from map(str, declared if isinstance(declared, list) else [declared])
        return
    choices = resolved.get("anyOf")
    for choice in choices if isinstance(choices, list) and choices else [{}]:
        json_type = _resolve_reference(choice, schema).get("type")
        yield json_type if isinstance(json_type, str) else "any"


def _resolve_reference(
    property_schema: object, schema: Mapping[str, object]
) -> Mapping[str, object]:
    """Return a property's schema, following one reference into ``$defs``."""
    resolved = _as_mapping(property_schema)
    reference = str(resolved.get("$ref", ""))
    if reference.startswith("#/$defs/"):
        definitions = _as_mapping(schema.get("$defs"))
        return _as_mapping(definitions.get(reference.removeprefix("#/$defs/")))
    return resolved


def _as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
