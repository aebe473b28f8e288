"""Names and values in schemas that the importer would convert move into descriptions."""

from typing import Any

import msgspec
import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.producers.requests import protected_schemas, schemas
from promptmill.producers.requests.encode import encode_lines, extract_request
from promptmill.producers.requests.protected_schemas import SchemaProtector, protect_schema
from promptmill.producers.requests.request_line import RequestLine

POINT = {
    "type": "object",
    "properties": {"nan": {"type": "number"}, "inf": {"type": "integer"}},
    "required": ["nan", "inf"],
}


def encode(schema: Any, name: str = "responseSchema", rows: int = 1) -> list[RequestLine]:
    request = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {name: schema}}
    return list(encode_lines("01jtest", [{"request": request}] * rows, 10_000))


def test_a_run_may_have_a_schema_whose_names_are_all_numbers() -> None:
    schema = schemas.parse_schema(POINT)

    assert msgspec.json.decode(schema.encoded) == {
        "type": "OBJECT",
        "properties": {"nan": {"type": "NUMBER"}, "inf": {"type": "INTEGER"}},
        "description": "Required: nan, inf. In this order: nan, inf.",
    }
    assert schema.json_schema == POINT


def test_names_beside_one_that_is_kept_stay() -> None:
    schema = msgspec.json.decode(
        schemas.parse_schema(
            POINT | {"properties": POINT["properties"] | {"x": {"type": "number"}}}  # type: ignore[operator]
        ).encoded
    )

    assert schema["propertyOrdering"] == ["nan", "inf", "x"]
    assert "required" not in schema


@pytest.mark.parametrize(
    ("node", "protected"),
    [
        ({"enum": ["yes", "no"]}, {"description": "One of: yes, no."}),
        ({"format": "enum", "enum": ["1", "2"]}, {"description": "One of: 1, 2."}),
        ({"enum": ["yes", "maybe"]}, {"enum": ["yes", "maybe"]}),
        ({"enum": [1, 2]}, {"enum": [1, 2]}),
        ({"const": "1"}, {"description": "Exactly: 1."}),
        ({"default": "5", "title": "T"}, {"description": "Default: 5. Title: T."}),
        (
            {"description": "A number", "example": "5"},
            {"description": "A number Example: 5."},
        ),
        ({"description": "1984"}, {"description": "Meaning: 1984"}),
        ({"pattern": "5"}, {"pattern": "(5)"}),
        ({"maxItems": "3", "min_length": "0"}, {"maxItems": 3, "min_length": 0}),
        ({"maxItems": "many"}, {"maxItems": "many"}),
        ({"default": 5, "minimum": 1}, {"default": 5, "minimum": 1}),
    ],
)
def test_every_keyword_with_texts_is_protected_at_any_depth(node: Any, protected: Any) -> None:
    def inside(inner: Any) -> Any:
        return {
            "properties": {"required": inner, "enum": {"items": inner}},
            "anyOf": [{"prefixItems": [inner]}],
        }

    assert protect_schema(node) == protected
    assert protect_schema(inside(node)) == inside(protected)


@pytest.mark.parametrize("name", ["responseSchema", "response_schema", "responseJsonSchema"])
def test_a_request_may_have_such_a_schema_of_its_own(name: str) -> None:
    first, second = encode(POINT, name, rows=2)

    sent = msgspec.json.decode(first.data)["request"]["generationConfig"][name]
    assert (first.refusal, second.refusal) == ("", "")
    assert sent["description"] == "Required: nan, inf."
    assert extract_request(first.data) == extract_request(second.data)


def test_a_schema_that_is_fine_is_sent_as_it_is() -> None:
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]}

    assert msgspec.json.decode(encode(schema)[0].data)["request"]["generationConfig"] == {
        "responseSchema": schema
    }


def test_what_cannot_be_moved_is_refused_with_its_path() -> None:
    (line,) = encode({"properties": {"a": {"type": "string", "x_note": "1"}}}, "responseJsonSchema")

    assert "request.generationConfig.responseJsonSchema.properties.a.x_note" in line.refusal


def test_names_of_digits_are_refused_with_the_cure() -> None:
    schema = {"type": "object", "properties": {"0": {"type": "string"}}}

    assert "a field named '0'" in encode(schema)[0].refusal
    assert "start a name with a letter or _" in encode(schema)[0].refusal
    with pytest.raises(ConfigurationError, match=r"property named '0'.*start a name with a letter"):
        schemas.parse_schema(schema)


@pytest.mark.parametrize("name", ["y", "N", "true", "No"])
def test_names_of_booleans_are_refused_with_the_cure(name: str) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"}, "x": {"type": "string"}}}

    assert "reads as a boolean; use a longer name" in encode(schema)[0].refusal
    with pytest.raises(ConfigurationError, match=f"property named '{name}'.*use a longer name"):
        schemas.parse_schema(schema)


def test_equal_schemas_are_protected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protected_schemas, "_MAX_CACHED", 2)
    protector = SchemaProtector()
    first = protector.protect_schema(POINT)

    assert protector.protect_schema(dict(POINT)) is first
    protector.protect_schema({"type": "string"})
    protector.protect_schema({"type": "number"})
    assert protector.protect_schema(POINT) == first
