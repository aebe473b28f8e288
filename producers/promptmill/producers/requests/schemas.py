"""The response schema of a run: what its answers are checked by, and what every request tells the model of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.requests import gemini_schema, request_validation

MAX_SCHEMA_BYTES = 64 << 10
"""Of a schema as it is sent; it is a part of every request, and paid for with each."""

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
    "any_of": "anyOf", "prefix_items": "prefixItems", "property_ordering": "propertyOrdering", "min_items": "minItems",
    "max_items": "maxItems", "min_length": "minLength", "max_length": "maxLength", "min_properties": "minProperties",
    "max_properties": "maxProperties", "additional_properties": "additionalProperties", "ref": "$ref",
}  # fmt: skip
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
    """``json_schema`` is the JSON Schema that answers must fit; ``sent`` the encoded ``responseSchema`` of every request."""

    json_schema: dict[str, Any] | None = None
    encoded: bytes = b""


def resolve_schema(schema: object, *, retry: bool) -> ResponseSchema:
    """Return the response schema of a run, which may have none; raises ConfigurationError as ``parse_schema`` does."""
    if schema is not None:
        return parse_schema(schema)
    if retry:
        raise ConfigurationError("retry_schema_invalid is of use only with a response_schema")
    return ResponseSchema()


def parse_schema(schema: object) -> ResponseSchema:
    """Return the response schema that a caller gave: a JSON Schema as a mapping, or a pydantic model.

    A mapping may also be in Google's dialect (``{"type": "OBJECT", …, "nullable": true}``), and in place of a model may be
    whatever pydantic makes a schema of: ``list[Model]``, a dataclass, a TypedDict.

    Raises ConfigurationError that names the place for what Gemini's ``Schema`` or Vertex's importer cannot hold.
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
    if refusal := request_validation.check_importable(
        {"generationConfig": {"responseSchema": translated}}
    ):
        raise ConfigurationError(f"response_schema cannot be sent: {refusal}")
    if len(encoded) > MAX_SCHEMA_BYTES:
        raise ConfigurationError(
            f"response_schema takes {len(encoded):,} bytes in every request; at most {MAX_SCHEMA_BYTES:,}"
        )
    _check_compiles(json_schema)
    return ResponseSchema(json_schema, encoded)


def _check_compiles(schema: dict[str, Any]) -> None:
    """Say at once what else is wrong with a schema, where the validator of the workers is installed; they look anyway."""
    try:
        import jsonschema_rs
    except ModuleNotFoundError:
        return
    try:
        jsonschema_rs.validator_for(schema, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = str(error).partition("\n")[0]
        raise ConfigurationError(f"response_schema is not a JSON schema: {message}") from None


def _pydantic_schema(model_type: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter  # takes longer to import than all of the producer
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(model_type).json_schema()
    except PydanticUserError as error:
        message = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"response_schema is a pydantic model or a JSON schema as a dict: {message}"
        ) from error


def _to_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``schema`` as JSON Schema proper, where it is in Google's dialect or has Google's names."""
    converted = {_GOOGLE_SPELLINGS.get(name, name): value for name, value in schema.items()}
    for name in _MAPPING_KEYWORDS:
        if isinstance(converted.get(name), Mapping):
            converted[name] = {
                key: _convert_subschema(value) for key, value in converted[name].items()
            }
    for name in _LIST_KEYWORDS:
        if isinstance(converted.get(name), list | tuple):
            converted[name] = [_convert_subschema(value) for value in converted[name]]
    for name in _SINGLE_KEYWORDS:
        if name in converted:
            converted[name] = _convert_subschema(converted[name])
    for name in _COUNT_KEYWORDS:
        if isinstance(converted.get(name), str):  # as Google writes 64 bit numbers in JSON
            converted[name] = int(converted[name])
    return _normalize_type(converted)


def _convert_subschema(value: Any) -> Any:
    return _to_json_schema(dict(value)) if isinstance(value, Mapping) else value


def _normalize_type(schema: dict[str, Any]) -> dict[str, Any]:
    type_name = schema.get("type")
    if isinstance(type_name, str) and type_name in _GOOGLE_TYPES:
        schema["type"] = type_name.lower()
        if (
            type_name in ("INTEGER", "NUMBER") and "enum" in schema
        ):  # Google writes these values as texts
            schema["enum"] = [
                int(value) if type_name == "INTEGER" else float(value) for value in schema["enum"]
            ]
        if schema.get("format") == "enum":
            del schema["format"]
    if schema.pop("nullable", False):
        return _make_nullable(schema)
    return schema


def _make_nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}
