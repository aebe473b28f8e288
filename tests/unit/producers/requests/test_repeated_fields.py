"""Requests in Google's other spellings become what the importer takes."""

from typing import Any

import msgspec
import pytest

from promptmill.producers.requests.encode import encode_lines, extract_request
from promptmill.producers.requests.repeated_fields import normalize_request
from promptmill.producers.requests.request_line import RequestLine

PART = {"text": "a prompt"}
LISTS = {"contents": [{"role": "user", "parts": [PART]}]}


def encode(*requests: Any) -> list[RequestLine]:
    return list(encode_lines("01jtest", [{"request": one} for one in requests], 10_000))


def test_one_object_in_place_of_a_list_is_the_same_request() -> None:
    lines = encode(
        LISTS,
        {"contents": [{"role": "user", "parts": PART}]},
        {"contents": {"role": "user", "parts": [PART]}},
        {"contents": {"role": "user", "parts": PART}},
    )

    assert [line.refusal for line in lines] == ["", "", "", ""]
    assert len({extract_request(line.data) for line in lines}) == 1


@pytest.mark.parametrize(
    ("fields", "normal"),
    [
        ({"systemInstruction": {"parts": PART}}, {"systemInstruction": {"parts": [PART]}}),
        ({"system_instruction": {"parts": PART}}, {"system_instruction": {"parts": [PART]}}),
        (
            {"tools": {"functionDeclarations": {"name": "find"}}},
            {"tools": [{"functionDeclarations": [{"name": "find"}]}]},
        ),
        (
            {"safetySettings": {"category": "C", "threshold": "OFF"}},
            {"safetySettings": [{"category": "C", "threshold": "OFF"}]},
        ),
        (
            {"generationConfig": {"stopSequences": "END", "responseModalities": "TEXT"}},
            {"generationConfig": {"stopSequences": ["END"], "responseModalities": ["TEXT"]}},
        ),
        (
            {"generation_config": {"stop_sequences": "END"}},
            {"generation_config": {"stop_sequences": ["END"]}},
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": "find"}}},
            {"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["find"]}}},
        ),
        (
            {"tools": [{"googleSearch": {"excludeDomains": "a.com"}}]},
            {"tools": [{"googleSearch": {"excludeDomains": ["a.com"]}}]},
        ),
    ],
)
def test_single_values_of_repeated_fields_become_lists(fields: Any, normal: Any) -> None:
    assert normalize_request(LISTS | fields) == LISTS | normal
    assert not encode(LISTS | fields)[0].refusal


@pytest.mark.parametrize("name", ["googleSearch", "google_search"])
def test_an_empty_search_tool_is_written_in_the_form_that_runs(name: str) -> None:
    (line,) = encode(LISTS | {"tools": [{name: {}}]})

    assert msgspec.json.decode(line.data)["request"]["tools"] == [
        {"googleSearch": {"excludeDomains": []}}
    ]


def test_the_other_tools_beside_an_empty_search_tool_are_kept() -> None:
    tool = {"google_search": {}, "functionDeclarations": {"name": "find"}}

    assert normalize_request(LISTS | {"tools": tool})["tools"] == [  # type: ignore[index]
        {"googleSearch": {"excludeDomains": []}, "functionDeclarations": [{"name": "find"}]}
    ]
    assert normalize_request({"tools": {"google_search": {}, "googleSearch": {"a": 1}}}) == {
        "tools": [{"googleSearch": {"a": 1}}]
    }


@pytest.mark.parametrize(
    "request_",
    [
        LISTS,
        LISTS | {"tools": [{"google_search": {"timeRangeFilter": None}}]},
        LISTS | {"tools": [{"googleSearch": {"excludeDomains": []}}]},
        LISTS | {"systemInstruction": None, "generationConfig": {"temperature": 1}},
        {"contents": "hi"},
        {"contents": ["hi"]},
        {"contents": None, "tools": "t", "systemInstruction": 7},
        None,
        "text",
    ],
)
def test_any_other_request_is_left_as_it_is(request_: Any) -> None:
    assert normalize_request(request_) is request_


@pytest.mark.parametrize("contents", ["hi", ["hi"], {"parts": "hi"}, {"parts": ["hi"]}])
def test_texts_in_place_of_contents_and_parts_are_refused(contents: Any) -> None:
    assert encode({"contents": contents})[0].refusal


def test_the_id_of_googles_sample_file_is_the_key() -> None:
    lines = encode_lines(
        "01jtest",
        [{"id": 7, "request": LISTS}, {"id": 7, "key": "a", "request": LISTS}],
        10_000,
    )

    assert [(line.key, line.refusal) for line in lines] == [("7", ""), ("a", "")]
