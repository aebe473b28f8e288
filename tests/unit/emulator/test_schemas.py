"""The validity of made-up values is judged by a small validator of its own, written from the JSON Schema specification."""

import ipaddress
import uuid
from datetime import date, datetime
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator import schemas

TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}
FORMATS: dict[str, Any] = {
    "date-time": datetime.fromisoformat,
    "date": date.fromisoformat,
    "uuid": uuid.UUID,
    "ipv4": ipaddress.IPv4Address,
    "uri": lambda text: urlsplit(text).netloc or 1 / 0,
    "email": lambda text: text.index("@"),
}


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    if value is None and schema.get("nullable"):
        return True
    if "anyOf" in schema and not any(is_valid(value, branch) for branch in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(_is(value, kind.lower()) for kind in kinds):
        return False
    return _fits(value, schema)


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (not isinstance(value, bool) or kind == "boolean")


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    match value:
        case dict():
            named = all(
                is_valid(value[name], schema.get("properties", {}).get(name, {})) for name in value
            )
            return named and all(name in value for name in schema.get("required", []))
        case list():
            low, high = int(schema.get("minItems", 0)), int(schema.get("maxItems", 10**6))
            unique = not schema.get("uniqueItems") or all(value.count(one) == 1 for one in value)
            return (
                low <= len(value) <= high
                and unique
                and all(is_valid(one, schema.get("items", {})) for one in value)
            )
        case str():
            if (check := FORMATS.get(schema.get("format", ""))) is not None:
                check(value)
            return (
                int(schema.get("minLength", 0)) <= len(value) <= int(schema.get("maxLength", 10**6))
            )
        case bool() | None:
            return True
        case _:
            return bool(
                schema.get("minimum", value) <= value <= schema.get("maximum", value)
                and schema.get("exclusiveMinimum", value - 1)
                < value
                < schema.get("exclusiveMaximum", value + 1)
                and value % schema.get("multipleOf", value or 1) == 0
            )


REVIEW = {
    "type": "OBJECT",
    "properties": {
        "sentiment": {"type": "STRING", "enum": ["good", "bad"]},
        "score": {"type": "NUMBER", "minimum": 0, "maximum": 1},
        "stars": {"type": "INTEGER", "minimum": 1, "maximum": 5},
        "topics": {
            "type": "ARRAY",
            "items": {"type": "STRING", "maxLength": "10"},
            "minItems": "2",
            "maxItems": "4",
        },
        "when": {"type": "STRING", "format": "date-time", "nullable": True},
        "author": {
            "type": "OBJECT",
            "properties": {"name": {"type": "STRING"}},
            "required": ["name"],
        },
        "either": {
            "anyOf": [
                {"type": "INTEGER"},
                {"type": "ARRAY", "items": {"type": "BOOLEAN"}, "minItems": 1},
            ]
        },
    },
    "required": ["sentiment", "stars"],
}


@pytest.mark.parametrize("seed", range(20))
def test_a_value_for_googles_dialect_is_valid(seed: int) -> None:
    value = schemas.make_instance(REVIEW, Random(seed))

    assert is_valid(value, REVIEW)
    assert set(value) == set(REVIEW["properties"])


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_formatted_text_can_be_read_by_its_format(format_name: str) -> None:
    schema = {"type": "string", "format": format_name}

    assert is_valid(schemas.make_instance(schema, Random(1)), schema)


def test_references_are_followed_even_into_themselves() -> None:
    tree: dict[str, Any] = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/node"}},
        "required": ["value"],
    }
    tree["properties"]["value"] = {"type": "integer"}
    schema = {"$ref": "#/$defs/node", "$defs": {"node": tree}}

    value = schemas.make_instance(schema, Random(1))

    assert isinstance(value["next"]["next"]["value"], int)


def test_a_reference_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        schemas.make_instance({"$ref": "#/$defs/nowhere"}, Random(1))


def test_fields_come_in_the_property_ordering() -> None:
    schema = {"type": "OBJECT", "properties": {"b": {"type": "STRING"}, "a": {"type": "STRING"}}}

    assert list(schemas.make_instance(schema | {"propertyOrdering": ["a", "b"]}, Random(1))) == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
        {"type": "integer", "minimum": 7, "multipleOf": 5},
        {"type": "integer", "maximum": -1000},
        {"type": "number", "minimum": 0.5, "maximum": 0.5},
        {"type": ["null", "string"]},
        {"allOf": [{"type": "object", "required": ["a"], "properties": {"a": {"type": "null"}}}]},
        {
            "type": "array",
            "uniqueItems": True,
            "minItems": 3,
            "items": {"type": "integer", "minimum": 1, "maximum": 3},
        },
        {"type": "string", "minLength": 60},
        {"properties": {"a": {"const": 4}}},
        {"type": "object", "required": ["unnamed"]},
    ],
)
def test_limits_are_kept(schema: dict[str, Any]) -> None:
    for seed in range(20):
        assert is_valid(schemas.make_instance(schema, Random(seed)), schema)


def _numbers(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(st.integers(-99, 99), st.integers(0, 50)).map(
        lambda pair: {"type": kind, "minimum": pair[0], "maximum": pair[0] + pair[1]}
    )


LEAVES = st.one_of(
    _numbers("INTEGER"),
    _numbers("number"),
    st.just({"type": "BOOLEAN"}),
    st.builds(
        lambda n, m: {"type": "STRING", "minLength": n, "maxLength": n + m},
        st.integers(0, 30),
        st.integers(0, 9),
    ),
    st.lists(st.text(), min_size=1).map(lambda texts: {"type": "string", "enum": texts}),
)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "OBJECT", "properties": properties, "required": sorted(properties)[:2]}


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=4).map(_object),
        st.tuples(inner, st.integers(0, 3)).map(
            lambda pair: {"type": "array", "items": pair[0], "minItems": pair[1]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches}),
    ),
    max_leaves=10,
)


@given(SCHEMAS, st.integers())
def test_a_value_for_any_schema_is_valid_and_repeatable(schema: dict[str, Any], seed: int) -> None:
    value = schemas.make_instance(schema, Random(seed))

    assert is_valid(value, schema)
    assert value == schemas.make_instance(schema, Random(seed))
