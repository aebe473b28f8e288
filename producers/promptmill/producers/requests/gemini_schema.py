"""Translates a JSON Schema into Gemini's dialect, for
``generationConfig.responseSchema``.

A request can hold a schema as ``responseSchema`` (Google's ``Schema``, a subset of
OpenAPI) or ``responseJsonSchema`` (JSON Schema). google-cloud-aiplatform 2.7.0 has
both, in ``types/openapi.py`` and ``types/content.py``. The batch importer decides for
the first; see ``request_validation``. It refuses names such as ``$defs`` and ``$ref``,
so references must be inlined. It gives each field one type in the whole file. In JSON
Schema, ``type`` and ``items`` can be a value or a list. In Google's ``Schema`` each
field has one type.

The importer turns numeric strings into numbers, and yes and no into booleans. So the
description holds such values, and rules that the dialect cannot express. Answers
are still checked by the whole JSON Schema.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from promptmill.config.errors import ConfigurationError
from promptmill.config.json_types import JsonObject
from promptmill.producers.requests.converted_texts import is_boolean
from promptmill.producers.requests.protected_schemas import protect_schema

Schema = JsonObject

_PROPERTY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_AMBIGUOUS_TEXTS = frozenset(
    {"true", "false", "t", "f", "yes", "no", "y", "n", "null", "none", "nan", "inf", "infinity"}
)
_TYPE_NAMES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_SUPPORTED_FORMATS = frozenset({"date-time"})
_SUPPORTED_KEYWORDS = {
    "object": ("minProperties", "maxProperties"),
    "array": ("minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
}


def translate(schema: Schema) -> Schema:
    """Return Google's ``Schema``; raises ConfigurationError for what it or the importer refuses."""
    translated = _Translator(schema).translate_node(schema, "response_schema", ())
    return cast("Schema", protect_schema(translated))


class _Translator:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def translate_node(self, schema: object, path: str, visited: tuple[str, ...]) -> Schema:
        resolved, visited = self._resolve_references(schema, path, visited)
        alternatives, common = _split_alternatives(resolved)
        nullable = bool(alternatives) and any(map(_is_null_type, alternatives))
        alternatives = [branch for branch in alternatives if not _is_null_type(branch)]
        if not alternatives:
            translated = self._translate_single_type(common, path, visited)
        elif len(alternatives) == 1:
            translated = self.translate_node(_merge_schemas(common, alternatives[0]), path, visited)
        else:
            translated = self._translate_union(common, alternatives, path, visited)
        return translated | _nullable_field(nullable)

    def _translate_union(
        self, common: Schema, alternatives: list[Schema], path: str, visited: tuple[str, ...]
    ) -> Schema:
        shared_fields = _without_annotations(common)
        translated = [
            self.translate_node(_merge_schemas(shared_fields, branch), f"{path}.anyOf", visited)
            for branch in alternatives
        ]
        return _build_description(common, []) | {"anyOf": translated}

    def _resolve_references(
        self, schema: object, path: str, visited: tuple[str, ...]
    ) -> tuple[Schema, tuple[str, ...]]:
        """Inline ``$ref`` and merge ``allOf``."""
        if not isinstance(schema, Mapping):
            raise _schema_error(
                path,
                f"must be a schema, as an object, not {type(schema).__name__}",
            )
        resolved = dict(schema)
        if reference := resolved.pop("$ref", None):
            if reference in visited:
                raise _schema_error(
                    path,
                    f"refers to itself ({reference}); limit the depth with one model per level",
                )
            visited = (*visited, reference)
            resolved, visited = self._resolve_references(
                _merge_schemas(self._find_reference(reference, path), resolved), path, visited
            )
        for part in resolved.pop("allOf", ()):
            part, visited = self._resolve_references(part, path, visited)
            resolved = _merge_schemas(part, resolved)
        return resolved, visited

    def _find_reference(self, reference: object, path: str) -> Any:
        node: object = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _schema_error(
                path,
                f"refers to {reference!r} outside the schema; a reference must start with #",
            )
        for step in filter(None, reference[1:].split("/")):
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, Mapping) or step not in node:
                raise _schema_error(path, f"refers to {reference}, which is not in the schema")
            node = node[step]
        return node

    def _translate_single_type(self, schema: Schema, path: str, visited: tuple[str, ...]) -> Schema:
        schema_type = _schema_type(schema, path)
        sentences: list[str] = []
        translated: Schema = {"type": schema_type.upper()} | {
            name: schema[name] for name in _SUPPORTED_KEYWORDS[schema_type] if name in schema
        }
        if "enum" in schema:
            translated |= _translate_enum(schema["enum"], schema_type, sentences, path)
        translated |= self._translate_content(schema, schema_type, path, visited)
        if schema.get("format") in _SUPPORTED_FORMATS:
            translated["format"] = schema["format"]
        sentences += _describe_rules(schema, translated)
        return translated | _build_description(schema, sentences)

    def _translate_content(
        self, schema: Schema, schema_type: str, path: str, visited: tuple[str, ...]
    ) -> Schema:
        if schema_type == "object":
            return self._translate_properties(schema, path, visited)
        if schema_type == "array":
            items = _item_schema(schema, path)
            return {"items": self.translate_node(items, f"{path}[]", visited)}
        return _inclusive_limits(schema, schema_type)

    def _translate_properties(self, schema: Schema, path: str, visited: tuple[str, ...]) -> Schema:
        properties = _read_properties(schema, path)
        translated: Schema = {
            "properties": {
                name: self.translate_node(property_schema, f"{path}.{name}", visited)
                for name, property_schema in properties.items()
            }
        }
        if required := [name for name in schema.get("required", ()) if name in properties]:
            translated["required"] = required
        # By default Gemini answers, and reasons, in alphabetical order.
        if len(properties) > 1:
            translated["propertyOrdering"] = schema.get("propertyOrdering") or list(properties)
        return translated


def _read_properties(schema: Schema, path: str) -> Mapping[str, object]:
    properties: Mapping[str, object] = schema.get("properties") or {}
    if not properties:
        raise _schema_error(
            path, "is an object without named properties, which Gemini's Schema cannot hold; "
            "use a list of objects with a name and a value"
        )  # fmt: skip
    for name in properties:
        if is_boolean(name):
            raise _schema_error(
                path, f"has a property named {name!r}, which Vertex's importer reads as a "
                "boolean; use a longer name (in pydantic, an alias)"
            )  # fmt: skip
        if not _PROPERTY_NAME.fullmatch(name):
            raise _schema_error(
                path, f"has a property named {name!r}, which Vertex's importer refuses; "
                "start a name with a letter or _, and use letters, digits and _ only "
                "(in pydantic, an alias)"
            )  # fmt: skip
    return properties


def _merge_schemas(first: Schema, second: Schema) -> Schema:
    """Merge ``properties`` and ``required``. For other keywords the second wins."""
    combined = {**first, **second}
    if isinstance(first.get("properties"), Mapping) and isinstance(
        second.get("properties"), Mapping
    ):
        combined["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        combined["required"] = [
            *first["required"],
            *(name for name in second["required"] if name not in first["required"]),
        ]
    return combined


def _split_alternatives(schema: Schema) -> tuple[list[Schema], Schema]:
    """Return the alternatives of a schema, and what all of them share."""
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return list(schema[name]), _without_keywords(schema, name)
    if isinstance(schema.get("type"), list):
        return _split_types(schema)
    if "const" in schema:
        return [], _without_keywords(schema, "const") | {"enum": [schema["const"]]}
    return _split_enum(schema)


def _split_types(schema: Schema) -> tuple[list[Schema], Schema]:
    values = [value for value in schema.get("enum", ()) if value is not None]
    common = _without_keywords(schema, "type", "enum") | ({"enum": values} if values else {})
    return [{"type": kind} for kind in dict.fromkeys(schema["type"])], common


def _split_enum(schema: Schema) -> tuple[list[Schema], Schema]:
    """Return an alternative for each type of the enum's values, if there are several."""
    values_by_type: dict[str, list[object]] = {}
    for value in schema.get("enum", ()):
        values_by_type.setdefault(_value_type(value), []).append(value)
    if len(values_by_type) < 2:
        return [], schema
    alternatives: list[Schema] = [
        {"type": kind} | ({} if kind == "null" else {"enum": values})
        for kind, values in values_by_type.items()
    ]
    return alternatives, _without_keywords(schema, "type", "enum")


def _is_null_type(branch: object) -> bool:
    return isinstance(branch, Mapping) and branch.get("type") == "null"


def _nullable_field(nullable: bool) -> Schema:
    return {"nullable": True} if nullable else {}


def _schema_type(schema: Schema, path: str) -> str:
    schema_type = schema.get("type")
    if schema_type is None:
        schema_type = _infer_type(schema)
    if schema_type not in _SUPPORTED_KEYWORDS:
        accepted = "any value" if schema_type is None else f"{schema_type!r}"
        raise _schema_error(
            path,
            f"accepts {accepted}; use a type of Gemini's Schema: "
            f"{', '.join(sorted(_SUPPORTED_KEYWORDS))}",
        )
    return str(schema_type)


def _infer_type(schema: Schema) -> str | None:
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return _value_type(schema["enum"][0]) if schema.get("enum") else None


def _value_type(value: object) -> str:
    return "null" if value is None else _TYPE_NAMES.get(type(value), "object")


def _translate_enum(values: Any, schema_type: str, sentences: list[str], path: str) -> Schema:
    """Return an enum of unambiguous texts. Describe other values, and limit numbers."""
    if not values:
        raise _schema_error(path, "has an empty enum; add its values")
    if schema_type == "string" and any(map(_is_unambiguous_text, values)):
        return {"enum": list(values), "format": "enum"}
    sentences.append("One of: " + ", ".join(str(value) for value in values) + ".")
    if schema_type in ("integer", "number"):
        return {"minimum": min(values), "maximum": max(values)}
    return {}


def _is_unambiguous_text(text: str) -> bool:
    return text[:1].isalpha() and text.strip().lower() not in _AMBIGUOUS_TEXTS


def _item_schema(schema: Schema, path: str) -> object:
    item_schemas: list[object] = []
    for item_schema in [
        *schema.get("prefixItems", ()),
        *([schema["items"]] if schema.get("items") else []),
    ]:
        if item_schema not in item_schemas:
            item_schemas.append(item_schema)
    if not item_schemas:
        raise _schema_error(path, "is a list without items; set the schema of its items")
    return item_schemas[0] if len(item_schemas) == 1 else {"anyOf": item_schemas}


# For floats these limits are one value too wide. The check of the answer finds that value.
def _inclusive_limits(schema: Schema, schema_type: str) -> Schema:
    """Turn exclusive limits into inclusive ones."""
    step = 1 if schema_type == "integer" else 0
    limits: Schema = {}
    for name, other, inward in (
        ("minimum", "exclusiveMinimum", step),
        ("maximum", "exclusiveMaximum", -step),
    ):
        limit = schema.get(other)
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            limits[name] = limit + inward
    return limits


def _describe_rules(schema: Schema, translated: Schema) -> Iterator[str]:
    """Yield sentences for the rules that the dialect cannot express."""
    if schema.get("format") and "format" not in translated:
        yield f"Format: {schema['format']}."
    if "multipleOf" in schema:
        yield f"A multiple of {schema['multipleOf']}."
    if schema.get("uniqueItems"):
        yield "No item twice."


def _build_description(schema: Schema, sentences: list[str]) -> Schema:
    text = " ".join([*([schema["description"]] if schema.get("description") else []), *sentences])
    if text and not _is_unambiguous_text(text):
        text = f"Meaning: {text}"
    return {"description": text} if text else {}


def _without_annotations(schema: Schema) -> Schema:
    return _without_keywords(schema, "description", "title", "default")


def _without_keywords(schema: Schema, *keywords: str) -> Schema:
    return {name: value for name, value in schema.items() if name not in keywords}


def _schema_error(path: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{path} {reason}")
