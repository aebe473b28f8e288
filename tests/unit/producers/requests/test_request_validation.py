"""What would make Vertex refuse a request, or a whole job, is found before anything is sent."""

from typing import Any

import pytest

from promptmill.producers.requests.request_validation import SAMPLE_REQUEST, check_request

TEXT = {"role": "user", "parts": [{"text": "hi"}]}


def with_config(**config: Any) -> dict[str, Any]:
    return {"contents": [TEXT], "generationConfig": config}


def with_part(part: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [part]}]}


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        inner = {"a": [inner]}
    return inner


GOOD: list[Any] = [
    {"contents": [TEXT]},
    {"contents": [TEXT, {"role": "model", "parts": [{"text": ""}]}], "labels": {"a": "b"}},
    with_config(
        temperature=0, responseSchema={"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
    ),
    {"contents": [TEXT], "system_instruction": {"parts": [{"text": "be brief"}]}},
    with_part({"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}}),
    with_part({"file_data": {"file_uri": "https://youtu.be/v1", "mime_type": "video/*"}}),
    with_part({"inlineData": {"mimeType": "image/png", "data": "aGk="}}),
    with_part({"functionResponse": {"name": "f", "response": {"a": 1}}}),
    with_config(x=nested(13)),
    with_config(x=[], w=None, z=[{"a": None}]),
    {"contents": [TEXT], "modelArmorConfig": {"promptTemplateName": "t1"}},
    {"contents": [TEXT], "tools": [{"googleSearch": {"excludeDomains": []}}]},
    {"contents": [TEXT], "tools": [{"google_search": {"timeRangeFilter": None}}]},
]
BAD: list[tuple[Any, str]] = [
    (None, "neither request nor prompt"),
    ("text", "a request must be a mapping with contents, not str"),
    ({}, "contents is missing"),
    ({"contents": []}, "at least one entry"),
    ({"contents": "hi"}, "must be a list"),
    ({"contents": [{}]}, "must have parts"),
    ({"contents": [{"parts": []}]}, "must have parts"),
    ({"contents": [{"role": "system", "parts": [{"text": "a"}]}]}, "role 'system'"),
    ({"contents": [TEXT], "model": "gemini"}, "set the model for the run"),
    ({"contents": [TEXT], "cachedContent": "c"}, "caching is not available"),
    ({"contents": [TEXT], "generatonConfig": {}}, "unknown field 'generatonConfig'"),
    (with_part({}), "a part must be a mapping"),
    (with_part("hi"), "a part must be a mapping"),
    (with_part({"text": 5}), "must be a string"),
    (with_part({"text": "  "}), "the prompt is empty"),
    (with_part({"fileData": "gs://a"}), "fileData must be a mapping"),
    (
        with_part({"fileData": {"fileUri": "photo.png", "mimeType": "image/png"}}),
        "must be a gs:// URI or the address of a public YouTube video",
    ),
    (
        with_part({"fileData": {"fileUri": "https://a/b.png", "mimeType": "image/png"}}),
        "copy other files to a bucket",
    ),
    (with_part({"fileData": {"fileUri": "gs://a/b"}}), "mimeType is missing"),
    (
        {"contents": [TEXT], "tools": [{"url_context": {}}]},
        "request.tools[].url_context is an empty object",
    ),
    (
        {"contents": [TEXT], "tools": [{"googleMaps": {}}]},
        "no other form of this tool is known to work in batch jobs; remove it",
    ),
    (
        {"contents": [TEXT], "tools": [{"googleSearchRetrieval": {}}]},
        "googleSearchRetrieval is the form of Gemini 1; use {'googleSearch': {}}",
    ),
    ({"contents": [TEXT], "systemInstruction": "be brief"}, "must be a mapping with parts"),
    (with_config(responseSchema={"$defs": {"a": {"b": 1}}}), "a field named '$defs'"),
    (
        with_config(responseJsonSchema={"properties": {"first name": {"type": "string"}}}),
        "a field named 'first name'",
    ),
    (with_config(x=nested(14)), "nested over 15 levels"),
    (with_config(x={1: 2}), "a field named 1"),
    (with_config(x=[[1], [2]]), "request.generationConfig.x is a list that contains a list"),
    (with_config(x=["a", None]), "request.generationConfig.x is a list that contains null"),
    ({"contents": [TEXT], "tools": [None]}, "request.tools is a list that contains null"),
    (with_part({"fileData": None}), "a part must be a mapping"),
    (with_part({"inlineData": {"mimeType": "image/png"}}), "inlineData must be a mapping of data"),
    (with_part({"inline_data": {"data": "aGk="}}), "inlineData.mimeType is missing"),
]


@pytest.mark.parametrize("request_", GOOD)
def test_a_request_that_vertex_takes_is_let_through(request_: Any) -> None:
    assert check_request(request_) == ""


@pytest.mark.parametrize(("request_", "refusal"), BAD, ids=[row[1] for row in BAD])
def test_a_request_that_vertex_refuses_is_found_and_the_reason_named(
    request_: Any, refusal: str
) -> None:
    assert refusal in check_request(request_)


def test_the_request_that_fields_are_held_in_is_as_it_should_be() -> None:
    assert check_request(SAMPLE_REQUEST) == ""


def test_a_refusal_of_the_importer_says_that_the_whole_job_is_at_stake() -> None:
    assert "for the whole job" in check_request(with_config(x={}))
