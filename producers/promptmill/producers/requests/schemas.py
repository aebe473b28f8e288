"""The response schema of a run: what its answers are checked by, and what every request tells the model of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from promptmill.config.errors import ConfigurationError
from promptmill.producers.requests import gemini_schema, request_validation

MAX_BYTES = 64 << 10
"""Of a schema as it is sent; it is a part of every request, and paid for with each."""

_encode = msgspec.json.Encoder().encode
_PLACES = ("properties", "$defs", "definitions", "defs", "patternProperties", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems")
_OTHER_SPELLING = {
    "any_of": "anyOf", "prefix_items": "prefixItems", "property_ordering": "propertyOrdering", "min_items": "minItems",
    "max_items": "maxItems", "min_length": "minLength", "max_length": "maxLength", "min_properties": "minProperties",
    "max_properties": "maxProperties", "additional_properties": "additionalProperties", "ref": "$ref",
}  # fmt: skip
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_GOOGLES_TYPES = frozenset({"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"})


class ResponseSchema(NamedTuple):
    """``checked`` is the JSON Schema that answers must fit; ``sent`` the encoded ``responseSchema`` of every request."""

    checked: dict[str, Any] | None = None
    sent: bytes = b""


def of_run(schema: object, *, retry: bool) -> ResponseSchema:
    """Return the response schema of a run, which may have none; raises ConfigurationError as ``read`` does."""
    if schema is not None:
        return read(schema)
    if retry:
        raise ConfigurationError("retry_schema_invalid is of use only with a response_schema")
    return ResponseSchema()


def read(schema: object) -> ResponseSchema:
    """Return the response schema that a caller gave: a JSON Schema as a mapping, or a pydantic model.

    A mapping may also be in Google's dialect (``{"type": "OBJECT", …, "nullable": true}``), and in place of a model may be
    whatever pydantic makes a schema of: ``list[Model]``, a dataclass, a TypedDict.

    Raises ConfigurationError that names the place for what Gemini's ``Schema`` or Vertex's importer cannot hold.
    """
    try:
        checked = _json_schema(dict(schema)) if isinstance(schema, Mapping) else _of_type(schema)
        sent = gemini_schema.say(checked)
        encoded = _encode(sent)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"response_schema is not a JSON schema: {type(error).__name__}: {error}") from error
    if refusal := request_validation.check_import({"generationConfig": {"responseSchema": sent}}):
        raise ConfigurationError(f"response_schema cannot be sent: {refusal}")
    if len(encoded) > MAX_BYTES:
        raise ConfigurationError(
            f"response_schema takes {len(encoded):,} bytes in every request; at most {MAX_BYTES:,}"
        )
    _check_compiles(checked)
    return ResponseSchema(checked, encoded)


def _check_compiles(schema: dict[str, Any]) -> None:
    """Say at once what else is wrong with a schema, where the validator of the workers is installed; they look anyway."""
    try:
        import jsonschema_rs
    except ModuleNotFoundError:
        return
    try:
        jsonschema_rs.validator_for(schema, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        words = str(error).partition("\n")[0]
        raise ConfigurationError(f"response_schema is not a JSON schema: {words}") from None


def _of_type(kind: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter  # takes longer to import than all of the producer
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(kind).json_schema()
    except PydanticUserError as error:
        words = str(error).partition("\n")[0]
        raise ConfigurationError(f"response_schema is a pydantic model or a JSON schema as a dict: {words}") from error


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``schema`` as JSON Schema proper, where it is in Google's dialect or has Google's names."""
    made = {_OTHER_SPELLING.get(name, name): value for name, value in schema.items()}
    for name in _PLACES:
        if isinstance(made.get(name), Mapping):
            made[name] = {key: _sub_schema(value) for key, value in made[name].items()}
    for name in _LISTS:
        if isinstance(made.get(name), list | tuple):
            made[name] = [_sub_schema(value) for value in made[name]]
    for name in _ONE:
        if name in made:
            made[name] = _sub_schema(made[name])
    for name in _COUNTS:
        if isinstance(made.get(name), str):  # as Google writes 64 bit numbers in JSON
            made[name] = int(made[name])
    return _with_plain_type(made)


def _sub_schema(value: Any) -> Any:
    return _json_schema(dict(value)) if isinstance(value, Mapping) else value


def _with_plain_type(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _GOOGLES_TYPES:
        schema["type"] = kind.lower()
        if kind in ("INTEGER", "NUMBER") and "enum" in schema:  # Google writes these values as texts
            schema["enum"] = [int(value) if kind == "INTEGER" else float(value) for value in schema["enum"]]
        if schema.get("format") == "enum":
            del schema["format"]
    if schema.pop("nullable", False):
        return _nullable(schema)
    return schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}
