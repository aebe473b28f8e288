import json
import re
from typing import Any

import pytest

from promptmill.emulator import openai
from promptmill.emulator.errors import RowRefused
from promptmill.emulator.responders import EchoResponder

MODEL = "gemini-3.8-flash"


def asked(text: str = "good morning", **config: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": config}


def answer(request: dict[str, Any], model: str = MODEL) -> dict[str, Any]:
    return EchoResponder().answer_request(request, model, 1_800_000_000.0)


def text_of(response: dict[str, Any]) -> str:
    return str(response["candidates"][0]["content"]["parts"][0]["text"])


def test_an_answer_says_that_it_is_emulated_and_repeats_the_prompt() -> None:
    assert (
        text_of(answer(asked("good morning")))
        == "[emulated gemini-3.8-flash] You said: good morning"
    )


@pytest.mark.parametrize(
    "verb", ["Translate to Spanish:", "Translate the following text into Spanish:\n"]
)
def test_a_translation_names_its_language(verb: str) -> None:
    assert (
        text_of(answer(asked(f"{verb} see you: soon")))
        == "[emulated gemini-3.8-flash] (Spanish) see you: soon"
    )


def test_a_response_has_everything_that_gemini_sends() -> None:
    response = answer(asked())

    usage = response["usageMetadata"]
    counts = [usage[f"{name}TokenCount"] for name in ("prompt", "candidates", "thoughts")]
    assert sum(counts) == usage["totalTokenCount"] > 0
    assert response["candidates"][0]["finishReason"] == "STOP"
    assert response["modelVersion"] == MODEL
    assert response["createTime"].endswith("Z")
    assert response["responseId"]


def test_the_same_request_gets_the_same_answer() -> None:
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}, "t": {"type": "STRING"}}}

    assert answer(asked(responseSchema=schema)) == answer(asked(responseSchema=schema))


def test_the_system_instruction_and_files_count_as_tokens() -> None:
    plain, more = asked(), asked()
    more["systemInstruction"] = {"parts": [{"text": "x" * 40}]}
    more["contents"][0]["parts"].append(
        {"fileData": {"fileUri": "gs://b/x.jpg", "mimeType": "image/jpeg"}}
    )

    counts = [answer(request)["usageMetadata"]["promptTokenCount"] for request in (plain, more)]

    assert counts[1] - counts[0] == 10 + 258
    assert "image/jpeg" in text_of(answer(more))


@pytest.mark.parametrize("name", ["responseSchema", "responseJsonSchema", "response_schema"])
def test_a_schema_is_obeyed_in_either_spelling(name: str) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 3}},
        "required": ["n"],
    }

    assert json.loads(text_of(answer(asked() | {"generationConfig": {name: schema}}))) == {"n": 3}


def test_an_enum_is_answered_bare() -> None:
    config = {
        "responseMimeType": "text/x.enum",
        "responseSchema": {"type": "STRING", "enum": ["good", "bad"]},
    }

    assert text_of(answer(asked() | {"generationConfig": config})) in {"good", "bad"}


def test_json_without_a_schema_is_json() -> None:
    assert "emulated" in json.loads(text_of(answer(asked(responseMimeType="application/json"))))


def test_an_answer_stops_at_the_token_limit() -> None:
    response = answer(asked("x" * 300, maxOutputTokens=10), "gemini-3.5-flash-lite")

    assert response["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert response["usageMetadata"]["candidatesTokenCount"] == 10


def test_as_many_candidates_as_wanted() -> None:
    candidates = answer(asked(candidateCount=3), "gemini-3.1-flash-lite")["candidates"]

    assert len(candidates) == 3


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"contents": []},
        {"contents": [{"role": "user", "parts": []}]},
        {"contents": [{"role": "boss", "parts": [{"text": "x"}]}]},
        {"contents": [{"role": "user", "parts": [{}]}]},
        {"contents": [{"role": "user", "parts": [{"text": ""}]}]},
        {
            "contents": [
                {"role": "user", "parts": [{"text": "x", "fileData": {"fileUri": "gs://b/x"}}]}
            ]
        },
        {"contents": ["x"]},
        {"contents": [{"parts": ["x"]}]},
        asked() | {"prompt": "x"},
        asked() | {"systemInstruction": "x"},
        asked() | {"generationConfig": 7},
        asked(temperature=3),
        asked(maxOutputTokens=0),
        asked(candidateCount="two"),
        asked(responseSchema={"$ref": "#/nowhere"}),
    ],
)
def test_a_malformed_request_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(RowRefused) as refused:
        answer(request_)

    assert refused.value.code == 400
    assert '"INVALID_ARGUMENT"' in refused.value.status_text()


def test_a_request_is_put_to_a_chat_model_in_its_own_words() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"type": {"type": "STRING", "nullable": True}},
        "propertyOrdering": ["type"],
    }
    request = asked("hi", temperature=0.5, maxOutputTokens=9, responseSchema=schema)
    request["systemInstruction"] = {"parts": [{"text": "be brief"}]}
    request["contents"].append({"role": "model", "parts": [{"text": "hello"}]})

    body = openai.make_chat_body(request, "local")

    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("local", 0.5, 9)
    asked_for = body["response_format"]["json_schema"]["schema"]
    assert asked_for == {"type": "object", "properties": {"type": {"type": ["string", "null"]}}}


@pytest.mark.parametrize(
    ("schema", "place", "name"),
    [
        ({"type": "OBJECT", "$defs": {}}, "generation_config.response_schema", "$defs"),
        (
            {"type": "ARRAY", "items": {"anyOf": [{"const": 1}]}},
            "generation_config.response_schema.items.anyOf",
            "const",
        ),
        (
            {"properties": {"a": {"type_": "STRING"}}},
            "generation_config.response_schema.properties[a]",
            "type_",
        ),
    ],
)
def test_a_schema_with_words_that_googles_dialect_lacks_is_refused(
    schema: Any, place: str, name: str
) -> None:
    with pytest.raises(RowRefused, match=re.escape(f"Unknown name \"{name}\" at '{place}'")):
        answer(asked(responseSchema=schema))
    assert answer(asked(responseJsonSchema=schema | {"type": "string"}))


def test_contents_and_parts_may_be_one_object_in_place_of_a_list() -> None:
    request = {"contents": {"role": "user", "parts": {"text": "good morning"}}}

    assert text_of(answer(request)).endswith("You said: good morning")
    assert answer(request)["usageMetadata"]["promptTokenCount"] == 3


@pytest.mark.parametrize(
    "tool", [{"google_search": {"timeRangeFilter": None}}, {"googleSearch": {}}]
)
def test_an_answer_with_google_search_names_its_sources(tool: dict[str, Any]) -> None:
    response = answer(asked() | {"tools": [tool]})

    (candidate,) = response["candidates"]
    (support,) = candidate["groundingMetadata"]["groundingSupports"]
    assert support["segment"]["text"] == text_of(response)
    assert "groundingMetadata" not in answer(asked())["candidates"][0]
