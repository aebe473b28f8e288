"""The response schema of a run, for its requests and for the check of its answers."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.config.json_types import JsonObject
from promptmill.producers.requests import gemini_schema, request_validation

MAX_SCHEMA_BYTES = 64 << 10
"""Maximum size of an encoded schema. Every request contains it."""

_encode_json = msgspec.json.Encoder().encode
_MAPPING_KEYWORDS = (
    "properties",
    "$defs",
    "definitions",
    "defs",
    "patternProperties",
    "dependentSchemas",
)
_LIST_KEYWORDS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE_KEYWORDS = (
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
)
_GOOGLE_SPELLINGS = {
    "any_of": "anyOf",
    "prefix_items": "prefixItems",
    "property_ordering": "propertyOrdering",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "additional_properties": "additionalProperties",
    "ref": "$ref",
}
_COUNT_KEYWORDS = (
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
)
_GOOGLE_TYPES = frozenset({"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"})


class ResponseSchema(NamedTuple):
    """The JSON Schema of answers, and the encoded ``responseSchema`` of requests."""

    json_schema: JsonObject | None = None
    encoded: bytes = b""


def resolve_schema(schema: object, *, retry: bool) -> ResponseSchema:
    """Return the response schema of a run, or an empty one.

    Raises ConfigurationError, like ``parse_schema``.
    """
    if schema is not None:
        return parse_schema(schema)
    if retry:
        raise ConfigurationError("retry_schema_invalid needs a response_schema")
    return ResponseSchema()


def parse_schema(schema: object) -> ResponseSchema:
    """Return the response schema of a JSON Schema, as a mapping, or a pydantic model.

    A mapping can also be in Google's dialect (``{"type": "OBJECT", …, "nullable":
    true}``). Any type that pydantic supports works too, such as ``list[Model]``, a
    dataclass or a TypedDict.

    Raises ConfigurationError for what Gemini's ``Schema`` or Vertex's importer cannot
    hold. The message names the path in the schema.
    """
    try:
        json_schema = (
            _to_json_schema(dict(schema))
            if isinstance(schema, Mapping)
            else _pydantic_schema(schema)
        )
        translated = gemini_schema.translate(json_schema)
        encoded = _encode_json(translated)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            f"response_schema is not a JSON schema: {type(error).__name__}: {error}"
        ) from error
    _check_sendable(translated, len(encoded))
    _check_compiles(json_schema)
    return ResponseSchema(json_schema, encoded)


def _check_sendable(translated: JsonObject, size: int) -> None:
    if refusal := request_validation.check_importable(
        {"generationConfig": {"responseSchema": translated}}
    ):
        raise ConfigurationError(f"response_schema cannot be sent: {refusal}")
    if size > MAX_SCHEMA_BYTES:
        raise ConfigurationError(
            f"response_schema takes {size:,} bytes in every request; "
            f"the maximum is {MAX_SCHEMA_BYTES:,}"
        )


def _check_compiles(schema: JsonObject) -> None:
    """Check a schema with the workers' validator, if it is installed here."""
    try:
        import jsonschema_rs
    except ModuleNotFoundError:
        return
    try:
        jsonschema_rs.validator_for(schema, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = str(error).partition("\n")[0]
        raise ConfigurationError(f"response_schema is not a JSON schema: {message}") from None


def _pydantic_schema(model_type: object) -> JsonObject:
    from pydantic import TypeAdapter  # slow to import
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter[object](cast("type[object]", model_type)).json_schema()
    except PydanticUserError as error:
        message = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"response_schema must be a pydantic model, or a JSON schema as a dict: {message}"
        ) from error


def _to_json_schema(schema: JsonObject) -> JsonObject:
    """Return ``schema`` as standard JSON Schema, also if it is in Google's dialect."""
    standard_names = {_GOOGLE_SPELLINGS.get(name, name): value for name, value in schema.items()}
    converted = {name: _convert_keyword(name, value) for name, value in standard_names.items()}
    return _normalize_type(converted)


def _convert_keyword(name: str, value: object) -> object:
    if name in _MAPPING_KEYWORDS and isinstance(value, Mapping):
        return {key: _convert_subschema(subschema) for key, subschema in value.items()}
    if name in _LIST_KEYWORDS and isinstance(value, list | tuple):
        return [_convert_subschema(subschema) for subschema in value]
    if name in _SINGLE_KEYWORDS:
        return _convert_subschema(value)
    if name in _COUNT_KEYWORDS and isinstance(value, str):  # as Google writes 64-bit integers
        return int(value)
    return value


def _convert_subschema(value: object) -> object:
    return _to_json_schema(dict(value)) if isinstance(value, Mapping) else value


def _normalize_type(schema: JsonObject) -> JsonObject:
    type_name = schema.get("type")
    if isinstance(type_name, str) and type_name in _GOOGLE_TYPES:
        schema["type"] = type_name.lower()
        # Google writes numeric enum values as strings.
        if type_name in ("INTEGER", "NUMBER") and "enum" in schema:
            schema["enum"] = [
                int(value) if type_name == "INTEGER" else float(value) for value in schema["enum"]
            ]
        if schema.get("format") == "enum":
            del schema["format"]
    if schema.pop("nullable", False):
        return _make_nullable(schema)
    return schema


def _make_nullable(schema: JsonObject) -> JsonObject:
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}
