"""Columns of PostgreSQL for the top-level properties of a response schema."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_MOST = 500
"""Columns; a table of PostgreSQL has at most 1,600."""
_TYPES = {"string": "text", "integer": "bigint", "number": "numeric", "boolean": "boolean"}


def columns(schema: Mapping[str, Any] | None, taken: frozenset[str]) -> list[tuple[str, str]]:
    """Return names and types of columns for the properties that a JSON Schema names, save names that are ``taken``.

    All may be null: a row that failed has none. What is no text, number or boolean is ``jsonb``.
    """
    if not schema:
        return []
    properties = _resolved(schema, schema).get("properties") or {}
    fit = [name for name in properties if _NAME.fullmatch(name) and name not in taken]
    return [(name, _type(properties[name], schema)) for name in fit[:_MOST]]


def _type(described: Any, schema: Mapping[str, Any]) -> str:
    kinds = {kind for kind in _kinds(described, schema) if kind != "null"}
    if kinds == {"integer", "number"}:
        return "numeric"
    return _TYPES.get(kinds.pop(), "jsonb") if len(kinds) == 1 else "jsonb"


def _kinds(described: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the JSON types that a value may have, as far as the schema says so."""
    found = _resolved(described, schema)
    told = found.get("type")
    if told:
        yield from [told] if isinstance(told, str) else told
        return
    for choice in found.get("anyOf") or [{}]:
        kind = _resolved(choice, schema).get("type")
        yield kind if isinstance(kind, str) else "any"


def _resolved(described: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow one reference into the schema's own definitions; what is none describes itself."""
    if not isinstance(described, Mapping):
        return {}
    reference = str(described.get("$ref", ""))
    if reference.startswith("#/$defs/"):
        found = (schema.get("$defs") or {}).get(reference.removeprefix("#/$defs/"))
        return found if isinstance(found, Mapping) else {}
    return described
