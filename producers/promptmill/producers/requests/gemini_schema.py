"""Says a JSON Schema in Gemini's own dialect, as a request's ``generationConfig.responseSchema``.

A request may name a schema as ``responseSchema`` (Google's ``Schema``, a subset of OpenAPI) or as ``responseJsonSchema``
(JSON Schema); google-cloud-aiplatform 2.7.0 has both, in ``types/openapi.py`` and ``types/content.py``. This is the first,
because of what the importer of batch jobs does to a file (see ``lint``). It refuses names such as ``$defs`` and ``$ref``, so
references have to be inlined either way. And it gives each field one kind over the whole file, where JSON Schema's ``type``
and ``items`` may be one value or a list of them; in Google's ``Schema`` each field has one kind by definition.

The importer also makes numbers of texts that look like numbers, and may make booleans of yes and no (others keep such
enumerations away from it). So values of that sort, and rules that the dialect has no word for, are told in the description
instead. Answers are checked by the whole JSON Schema all the same.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from promptmill.config.errors import ConfigurationError

Schema = dict[str, Any]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_NO_TEXT = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n", "null", "none", "nan", "inf", "infinity"})
_KINDS: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_SENT_FORMATS = frozenset({"date-time"})
_SENT = {
    "object": ("minProperties", "maxProperties"),
    "array": ("minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
}


def say(schema: Schema) -> Schema:
    """Return ``schema`` as Google's ``Schema``; raises ConfigurationError for what that or the importer cannot hold."""
    return _Speaker(schema).say(schema, "response_schema", ())


class _Speaker:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def say(self, schema: Any, path: str, followed: tuple[str, ...]) -> Schema:
        schema, followed = self._resolved(schema, path, followed)
        branches, rest = _branches(schema)
        nullable = bool(branches) and any(map(_is_null, branches))
        branches = [branch for branch in branches if not _is_null(branch)]
        if len(branches) == 1 or not branches:
            if branches:
                return self.say(merged(rest, branches[0]), path, followed) | _null(nullable)
            return self._of_one_kind(rest, path, followed) | _null(nullable)
        said = [self.say(merged(_without_words(rest), branch), f"{path}.anyOf", followed) for branch in branches]
        return _description(rest, []) | {"anyOf": said} | _null(nullable)

    def _resolved(self, schema: Any, path: str, followed: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Follow ``$ref`` and put ``allOf`` together."""
        if not isinstance(schema, Mapping):
            raise _refused(path, "is no schema of a kind of value" if isinstance(schema, bool) else "is no schema")
        rest = dict(schema)
        if reference := rest.pop("$ref", None):
            if reference in followed:
                raise _refused(
                    path, f"refers to itself ({reference}); limit the depth by models of their own for each level"
                )
            followed = (*followed, reference)
            rest, followed = self._resolved(merged(self._target(reference, path), rest), path, followed)
        for part in rest.pop("allOf", ()):
            part, followed = self._resolved(part, path, followed)
            rest = merged(part, rest)
        return rest, followed

    def _target(self, reference: Any, path: str) -> Any:
        place: Any = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _refused(path, f"refers to {reference!r}, which is not in the schema; references start with #")
        for step in filter(None, reference[1:].split("/")):
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(place, Mapping) or step not in place:
                raise _refused(path, f"refers to {reference}, which the schema does not have")
            place = place[step]
        return place

    def _of_one_kind(self, schema: Schema, path: str, followed: tuple[str, ...]) -> Schema:
        kind = _kind(schema, path)
        told: list[str] = []
        said: Schema = {"type": kind.upper()} | {name: schema[name] for name in _SENT[kind] if name in schema}
        if "enum" in schema:
            said |= _enum(schema["enum"], kind, told, path)
        if kind == "object":
            said |= self._properties(schema, path, followed)
        elif kind == "array":
            said["items"] = self.say(_items(schema, path), f"{path}[]", followed)
        else:
            said |= _limits(schema, kind)
        if schema.get("format") in _SENT_FORMATS:
            said["format"] = schema["format"]
        told += _rules(schema, said)
        return said | _description(schema, told)

    def _properties(self, schema: Schema, path: str, followed: tuple[str, ...]) -> Schema:
        properties = schema.get("properties")
        if not properties:
            raise _refused(
                path, "is an object without named properties, which Gemini's Schema cannot hold; "
                "make it a list of objects with a name and a value"
            )  # fmt: skip
        for name in properties:
            if not _NAME.fullmatch(name):
                raise _refused(
                    path, f"has a property named {name!r}, which Vertex's importer refuses for the whole job; "
                    "a name has letters, digits and _ only (in pydantic, an alias)"
                )  # fmt: skip
        said: Schema = {
            "properties": {name: self.say(one, f"{path}.{name}", followed) for name, one in properties.items()}
        }
        if required := [name for name in schema.get("required", ()) if name in properties]:
            said["required"] = required
        if len(properties) > 1:  # else Gemini answers in the order of the alphabet, and thinks in that order
            said["propertyOrdering"] = schema.get("propertyOrdering") or list(properties)
        return said


def merged(one: Any, other: Any) -> Schema:
    """Return both schemas at once: properties and required of both, otherwise the second wins."""
    both = {**one, **other}
    if isinstance(one.get("properties"), Mapping) and isinstance(other.get("properties"), Mapping):
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = [*one["required"], *(name for name in other["required"] if name not in one["required"])]
    return both


def _branches(schema: Schema) -> tuple[list[Any], Schema]:
    """What a value may be instead of one kind alone, and what holds for it in any case."""
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return list(schema[name]), {key: value for key, value in schema.items() if key != name}
    if isinstance(schema.get("type"), list):
        kinds = [*dict.fromkeys(schema["type"])]
        values = [value for value in schema.get("enum", ()) if value is not None]
        rest = {key: value for key, value in schema.items() if key not in ("type", "enum")}
        rest |= {"enum": values} if values else {}
        return [{"type": kind} for kind in kinds], rest
    if "const" in schema:
        return [], {key: value for key, value in schema.items() if key != "const"} | {"enum": [schema["const"]]}
    kinds = [*dict.fromkeys(_kind_of_value(value) for value in schema.get("enum", ()))]
    if len(kinds) > 1:
        of_kind = [{"enum": [value for value in schema["enum"] if _kind_of_value(value) == kind]} for kind in kinds]
        return [
            {"type": "null"} if kind == "null" else {"type": kind} | one
            for kind, one in zip(kinds, of_kind, strict=True)
        ], {key: value for key, value in schema.items() if key not in ("type", "enum")}
    return [], schema


def _is_null(branch: Any) -> bool:
    return isinstance(branch, Mapping) and branch.get("type") == "null"


def _null(nullable: bool) -> Schema:
    return {"nullable": True} if nullable else {}


def _kind(schema: Schema, path: str) -> str:
    kind = schema.get("type")
    if kind is None:
        kind = _implied(schema)
    if kind not in _SENT:
        word = "any value" if kind is None else f"{kind!r}"
        raise _refused(path, f"takes {word}; give it a type that Gemini's Schema has: {', '.join(sorted(_SENT))}")
    return str(kind)


def _implied(schema: Schema) -> str | None:
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return _kind_of_value(schema["enum"][0]) if schema.get("enum") else None


def _kind_of_value(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), "object")


def _enum(values: list[Any], kind: str, told: list[str], path: str) -> Schema:
    """Values that a table would take for texts; others are told in words, and numbers also by their limits."""
    if not values:
        raise _refused(path, "has an enum without values")
    if kind == "string" and any(map(_is_surely_text, values)):
        return {"enum": list(values), "format": "enum"}
    told.append("One of: " + ", ".join(str(value) for value in values) + ".")
    if kind in ("integer", "number"):
        return {"minimum": min(values), "maximum": max(values)}
    return {}


def _is_surely_text(text: str) -> bool:
    return text[:1].isalpha() and text.lower() not in _NO_TEXT


def _items(schema: Schema, path: str) -> Any:
    kinds: list[Any] = []
    for one in [*schema.get("prefixItems", ()), *([schema["items"]] if schema.get("items") else [])]:
        if one not in kinds:
            kinds.append(one)
    if not kinds:
        raise _refused(path, "is a list of anything; say what its items are")
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _limits(schema: Schema, kind: str) -> Schema:
    """Exclusive limits: exact for integers, else one value too wide, which the check of the answer then finds."""
    step = 1 if kind == "integer" else 0
    said: Schema = {}
    for name, other, inward in (("minimum", "exclusiveMinimum", step), ("maximum", "exclusiveMaximum", -step)):
        limit = schema.get(other)
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            said[name] = limit + inward
    return said


def _rules(schema: Schema, said: Schema) -> Iterator[str]:
    """What the dialect has no word for, in words."""
    if schema.get("format") and "format" not in said:
        yield f"Format: {schema['format']}."
    if "multipleOf" in schema:
        yield f"A multiple of {schema['multipleOf']}."
    if schema.get("uniqueItems"):
        yield "No item twice."


def _description(schema: Schema, told: list[str]) -> Schema:
    words = " ".join([*([schema["description"]] if schema.get("description") else []), *told])
    if words and not _is_surely_text(words):
        words = f"Meaning: {words}"
    return {"description": words} if words else {}


def _without_words(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name not in ("description", "title", "default")}


def _refused(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{path} {why}")
