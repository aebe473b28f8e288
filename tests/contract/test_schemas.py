"""What is sent as a response schema is a Schema to Google's own library, with not a word too much."""

from enum import Enum
from typing import Any, Literal

import msgspec
import pytest
from google.cloud.aiplatform_v1.types import GenerationConfig, Type
from pydantic import BaseModel, Field

from promptmill.emulator.schemas import SCHEMA_FIELDS
from promptmill.producers.requests import schemas


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Part(BaseModel):
    """A part of a thing."""

    name: str = Field(min_length=1, max_length=80, pattern="^[a-z]+$")
    size: Size | None = None
    weight: float = Field(ge=0, le=1000)


class Thing(BaseModel):
    parts: list[Part] = Field(min_length=1, max_length=9)
    grade: Literal[1, 2, 3]
    broken: bool
    made: str | int | Part
    pair: tuple[str, str]


@pytest.mark.parametrize(
    "schema", [Thing, list[Part], Size, {"type": "OBJECT", "properties": {"a": {"type": "NUMBER"}}}]
)
def test_a_schema_that_is_sent_is_one_to_googles_library(schema: Any) -> None:
    sent = msgspec.json.decode(schemas.parse_schema(schema).encoded)

    config = GenerationConfig.from_json(msgspec.json.encode({"responseSchema": sent}).decode())

    assert config.response_schema.type_ == getattr(Type, sent["type"])
    assert set(config.response_schema.properties) == set(sent.get("properties", {}))


def test_the_emulator_knows_the_words_of_googles_dialect() -> None:
    fields = (
        GenerationConfig.pb(GenerationConfig())
        .DESCRIPTOR.fields_by_name["response_schema"]
        .message_type.fields
    )

    assert {field.json_name for field in fields} == SCHEMA_FIELDS
