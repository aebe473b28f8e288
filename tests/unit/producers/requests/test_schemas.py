"""A response schema is said in Google's dialect in every request; what Gemini or the importer would refuse is refused."""

import datetime
import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from promptmill.config.errors import ConfigurationError
from promptmill.emulator.columns import Columns
from promptmill.emulator.conversions import plan_conversions
from promptmill.producers import Promptmill
from promptmill.producers.requests import schemas
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.requests.request_line import RequestLine


class Item(BaseModel):
    """What was damaged."""

    name: str
    amount: float = Field(gt=0, description="In euros")
    seen: datetime.date | None = None


class Claim(BaseModel):
    policy: str = Field(pattern="^P[0-9]+$")
    cause: Literal["fire", "water"]
    urgency: Literal[1, 2, 3]
    covered: Literal["yes", "no"]
    items: list[Item] = Field(min_length=1)
    main: Item | int


class Node(BaseModel):
    inner: list["Node"]


class Aliased(BaseModel):
    metric: int = Field(alias="Metric A")


class Anything(BaseModel):
    value: Any


class Table(BaseModel):
    cells: dict[str, int]


def sent(schema: object) -> Any:
    return msgspec.json.decode(schemas.parse_schema(schema).encoded)


def test_a_model_becomes_a_schema_of_googles_with_its_references_inlined() -> None:
    item = {
        "type": "OBJECT",
        "description": "What was damaged.",
        "properties": {
            "name": {"type": "STRING"},
            "amount": {"type": "NUMBER", "minimum": 0, "description": "In euros"},
            "seen": {"type": "STRING", "description": "Format: date.", "nullable": True},
        },
        "required": ["name", "amount"],
        "propertyOrdering": ["name", "amount", "seen"],
    }

    made = sent(Claim)

    assert made["properties"]["policy"] == {"type": "STRING", "pattern": "^P[0-9]+$"}
    assert made["properties"]["items"] == {"type": "ARRAY", "minItems": 1, "items": item}
    assert made["properties"]["main"] == {"anyOf": [item, {"type": "INTEGER"}]}
    assert made["required"] == made["propertyOrdering"] == list(Claim.model_fields)


def test_values_that_a_table_would_not_take_for_texts_are_told_in_words() -> None:
    properties = sent(Claim)["properties"]

    assert properties["cause"] == {"type": "STRING", "format": "enum", "enum": ["fire", "water"]}
    assert properties["covered"] == {"type": "STRING", "description": "One of: yes, no."}
    assert properties["urgency"] == {
        "type": "INTEGER",
        "minimum": 1,
        "maximum": 3,
        "description": "One of: 1, 2, 3.",
    }
    assert sent({"type": "string", "description": "1984"}) == {
        "type": "STRING",
        "description": "Meaning: 1984",
    }


def test_answers_are_checked_by_the_whole_schema_whatever_googles_dialect_lacks() -> None:
    assert schemas.parse_schema(Claim).json_schema == Claim.model_json_schema()
    assert sent({"type": "integer", "multipleOf": 5, "exclusiveMaximum": 50}) == {
        "type": "INTEGER", "maximum": 49, "description": "A multiple of 5.",
    }  # fmt: skip


def test_a_schema_in_googles_dialect_is_understood_too() -> None:
    google = {
        "type": "OBJECT",
        "properties": {
            "direction": {
                "type": "STRING",
                "format": "enum",
                "enum": ["EAST", "WEST"],
                "nullable": True,
            },
            "flat": {"type": "INTEGER", "enum": ["101", "201"]},
            "type": {
                "type": "ARRAY",
                "items": {"any_of": [{"type": "STRING"}, {"type": "NUMBER"}]},
                "max_items": "3",
            },
        },
        "required": ["flat"],
    }

    made = schemas.parse_schema(google)

    direction, flat, kind = made.json_schema["properties"].values()  # type: ignore[index]
    assert direction == {"anyOf": [{"type": "string", "enum": ["EAST", "WEST"]}, {"type": "null"}]}
    assert flat == {"type": "integer", "enum": [101, 201]}
    assert kind == {
        "type": "array",
        "items": {"anyOf": [{"type": "string"}, {"type": "number"}]},
        "maxItems": 3,
    }
    expected = google["properties"]["direction"]  # type: ignore[index]
    assert msgspec.json.decode(made.encoded)["properties"]["direction"] == expected


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (Node, r"response_schema\.inner\[\] refers to itself"),
        (Aliased, "has a property named 'Metric A', which Vertex's importer refuses"),
        (Anything, r"response_schema\.value accepts any value"),
        (Table, r"response_schema\.cells is an object without named properties"),
        ({}, "accepts any value"),
        ({"type": "null"}, "accepts 'null'"),
        ({"type": "array"}, "is a list without items"),
        ({"type": "string", "enum": []}, "has an empty enum"),
        ({"$ref": "https://example.com/schema"}, "outside the schema"),
        ({"$ref": "#/$defs/None"}, "which is not in the schema"),
        (
            {"type": "object", "properties": {"a": True}},
            r"response_schema\.a must be a schema",
        ),
        ({"type": "object", "properties": 7}, "response_schema is not a JSON schema"),
        ({"type": "string", "description": "x" * 70_000}, "takes 70,0.. bytes in every request"),
        (
            {"type": "string", "pattern": "("},
            "response_schema is not a JSON schema: .* is not a .regex.",
        ),
        (7, "must be a pydantic model, or a JSON schema as a dict"),
    ],
)
def test_what_the_dialect_or_the_importer_cannot_hold_is_refused_with_its_place(
    schema: object, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        schemas.parse_schema(schema)


def nested(levels: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"a": nested(levels - 1) if levels > 1 else {"type": "string"}},
    }


def test_a_schema_is_refused_that_the_importer_would_find_nested_too_deep() -> None:
    assert schemas.parse_schema(nested(6)).encoded
    with pytest.raises(ConfigurationError, match="is nested over 15 levels deep"):
        schemas.parse_schema(nested(7))


def test_a_schema_is_refused_before_anything_is_sent() -> None:
    mill = Promptmill(
        broker_url="redis://127.0.0.1:1/0", bucket="gs://acme/mill", model="gemini-3.8-flash"
    )

    with pytest.raises(ConfigurationError, match="refers to itself"):
        mill.submit(["a"], response_schema=Node)
    with pytest.raises(ConfigurationError, match="retry_schema_invalid needs a response_schema"):
        mill.submit(["a"], retry_schema_invalid=True)


NAMES = st.sampled_from(["a", "b", "type", "items", "enum", "properties"])
LEAVES = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "boolean"])}),
    st.just({"type": ["string", "null"]}),
    st.just({"type": ["number", "string"], "minimum": 0, "minLength": 1}),
    st.builds(
        lambda values: {"enum": values},
        st.lists(st.none() | st.integers() | st.text() | st.booleans(), min_size=1),
    ),
    st.builds(lambda value: {"const": value}, st.integers() | st.text()),
    st.just({"$ref": "#/$defs/Text"}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda one: {"type": "array", "items": one}, inner),
        st.builds(
            lambda some: {"type": "array", "prefixItems": some},
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(
            lambda some: {"anyOf": some, "description": "7"},
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(
            lambda some: {"oneOf": [*some, {"type": "null"}]},
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda some: {"allOf": some}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(
            lambda some: {
                "type": "object",
                "properties": some,
                "required": list(some),
                "additionalProperties": False,
            },
            st.dictionaries(NAMES, inner, max_size=3),
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(SCHEMAS)
def test_every_schema_is_refused_or_passes_the_importer(schema: dict[str, Any]) -> None:
    try:
        made = schemas.parse_schema(
            schema | {"$defs": {"Text": {"type": "string", "title": "A text"}}}
        )
    except ConfigurationError:
        return

    (line,) = encode_lines("r", ["a"], 1 << 20, made.encoded)

    columns = Columns()
    columns.add_row(row := msgspec.json.decode(line.data))
    conversion = plan_conversions(columns.fields)
    assert conversion is None or not conversion.fields["request"].find_refusal(row["request"], "")


def encoded(*prompts: Any, schema: object = None) -> list[RequestLine]:
    return list(
        encode_lines("r", prompts, 1 << 20, schemas.parse_schema(schema).encoded if schema else b"")
    )


def config(line: RequestLine) -> Any:
    return json.loads(line.data)["request"]["generationConfig"]


def request(**config: Any) -> dict[str, Any]:
    return {"request": {"contents": [{"parts": [{"text": "a"}]}], "generationConfig": config}}


STARS = {"type": "object", "properties": {"stars": {"type": "integer"}}}
SENT_STARS = {"type": "OBJECT", "properties": {"stars": {"type": "INTEGER"}}}


def test_the_schema_is_the_same_in_a_prompt_and_in_a_request() -> None:
    text, mapping, own = encoded(
        "a", {"prompt": "a"}, request(temperature=0, responseMimeType=None), schema=STARS
    )

    assert (
        config(text)
        == config(mapping)
        == {"responseMimeType": "application/json", "responseSchema": SENT_STARS}
    )
    assert config(own) == config(text) | {"temperature": 0}


def test_the_spelling_of_the_request_is_kept() -> None:
    snake = {
        "contents": [{"parts": [{"text": "a"}]}],
        "generation_config": {"response_mime_type": "application/json"},
    }

    (line,) = encoded({"request": snake}, schema=STARS)

    made = json.loads(line.data)["request"]
    assert made["generation_config"] == {
        "responseMimeType": "application/json",
        "responseSchema": SENT_STARS,
    }


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (request(responseSchema=SENT_STARS), "has its own responseSchema"),
        (request(response_json_schema=STARS), "has its own response_json_schema"),
        (request(responseMimeType="text/x.enum"), "responseMimeType must be application/json"),
        (
            {"request": request()["request"] | {"generationConfig": 7}},
            "generationConfig must be a mapping, not int",
        ),
    ],
)
def test_a_request_that_wants_another_shape_fails_alone(prompt: Any, words: str) -> None:
    good, refused = encoded("a", prompt, schema=STARS)

    assert not good.refusal
    assert words in refused.refusal


def test_a_request_may_bring_its_own_schema_in_a_run_that_has_none() -> None:
    (line,) = encoded(request(responseSchema=SENT_STARS, responseMimeType="application/json"))

    assert config(line)["responseSchema"] == SENT_STARS


def test_a_schema_fails_alone_that_the_importer_would_refuse_beside_an_earlier_one() -> None:
    kinds = {"type": "object", "properties": {"stars": {"type": ["integer", "string"]}}}
    others = {"type": "object", "properties": {"mood": {"type": ["string", "null"]}}}

    lines = encoded(
        *(request(responseJsonSchema=one) for one in (STARS, STARS, kinds, others, STARS))
    )

    assert [bool(line.refusal) for line in lines] == [False, False, True, False, False]
    assert (
        "responseJsonSchema.properties.stars.type is a list here and a value in the schema of an earlier row"
        in (lines[2].refusal)
    )


def test_a_schema_fails_alone_that_is_of_two_kinds_itself() -> None:
    (line,) = encoded(
        request(responseJsonSchema={"anyOf": [{"type": "string"}, {"type": ["integer", "null"]}]})
    )

    assert "responseJsonSchema.anyOf[].type is a list and a value in one schema" in line.refusal


def test_lists_and_types_of_pydantic_are_schemas_too() -> None:
    assert sent(list[Item])["items"]["type"] == "OBJECT"
    assert sent(Annotated[int, Field(ge=1)]) == {"type": "INTEGER", "minimum": 1}
