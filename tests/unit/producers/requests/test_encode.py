"""How a caller's prompts become the lines that Vertex reads."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.config import names
from promptmill.config.errors import InvalidRequest
from promptmill.producers.requests.encode import (
    MAX_KEY_CHARS,
    WireKey,
    encode_lines,
    join_wire_key,
    split_wire_key,
)
from promptmill.producers.requests.request_line import RequestLine

RUN = "01jtest"
TAG = names.tag(RUN)
LIMIT = 10_000
REQUEST = {"contents": [{"parts": [{"text": "hi"}]}]}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
PROMPTS = st.one_of(
    st.text(max_size=60),
    st.builds(lambda text: {"prompt": text}, st.text(max_size=20)),
    st.builds(lambda value: {"request": value}, JSON),
    st.builds(
        lambda text, value: {"request": REQUEST, "metadata": {text: value}},
        st.text(max_size=5),
        JSON,
    ),
    st.builds(lambda value: {"request": REQUEST | {"generationConfig": value}}, JSON),
)


def encode(*prompts: Any, limit: int = LIMIT) -> list[RequestLine]:
    return list(encode_lines(RUN, prompts, limit))


@settings(max_examples=200)
@given(st.lists(PROMPTS, max_size=8))
def test_every_prompt_becomes_one_line_of_json_with_its_row_and_key(prompts: list[Any]) -> None:
    lines = encode(*prompts)

    assert [line.row for line in lines] == list(range(1, len(prompts) + 1))
    for line in lines:
        assert line.data.endswith(b"\n")
        assert line.data.count(b"\n") == 1
        assert len(line.data) <= LIMIT
        held = msgspec.json.decode(line.data)
        assert split_wire_key(held["key"]) == WireKey(TAG, line.row, line.key)
        assert ("error" in held) == bool(line.refusal) == ("request" not in held)


@given(
    st.text(min_size=1, max_size=300).filter(
        lambda text: text.strip() and not re.search("[\ud800-\udfff]", text)
    )
)
def test_a_text_arrives_as_it_was_given(text: str) -> None:
    _, line, mapping = encode("a", text, {"prompt": text})

    held = msgspec.json.decode(line.data)
    assert held["request"] == {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    assert held["request"] == msgspec.json.decode(mapping.data)["request"]


@given(
    st.from_regex(r"r[0-9a-f]{10}", fullmatch=True),
    st.integers(0, 10**14),
    st.text(min_size=1, max_size=40),
)
def test_a_wire_key_comes_apart_as_it_was_joined(tag: str, row: int, key: str) -> None:
    joined = join_wire_key(tag, row, key)

    assert joined[0].isalpha()
    assert split_wire_key(joined) == WireKey(tag, row, key)


@given(st.text(max_size=30))
def test_any_text_is_either_a_wire_key_or_not(text: str) -> None:
    key = split_wire_key(text)

    assert key is None or (key.tag and key.row >= 0 and key.key and text.endswith(f"-{key.key}"))


def test_the_callers_key_and_metadata_come_along() -> None:
    (line,) = encode(
        {"key": "sku-1-a", "metadata": {"shop": 7, "tags": ["a", {}]}, "request": REQUEST}
    )

    held = msgspec.json.decode(line.data)
    assert (line.key, held["key"]) == ("sku-1-a", f"{TAG}-1-sku-1-a")
    assert msgspec.json.decode(held["metadata"]) == {"shop": 7, "tags": ["a", {}]}
    assert held["request"] == REQUEST


def test_a_key_may_be_a_number() -> None:
    assert encode({"key": 17, "prompt": "a"})[0].key == "17"


@pytest.mark.parametrize(
    "key", ["", "x" * (MAX_KEY_CHARS + 1), None, True, 1.5, ["a"], "\ud800", "a\0b"]
)
def test_a_row_whose_key_cannot_be_used_stops_everything_and_is_named(key: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^row 2: a key must be a string"):
        encode("fine", {"key": key, "prompt": "a"})


@pytest.mark.parametrize("prompt", [None, 7, ["a"], b"bytes"])
def test_what_is_no_prompt_at_all_stops_everything_and_is_named(prompt: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^row 1: a prompt must be a string or a mapping"):
        encode(prompt)


BAD_ROWS: list[tuple[Any, str]] = [
    ("", "the prompt is empty"),
    (" \n", "the prompt is empty"),
    ("half \ud800", "half of a surrogate pair"),
    ("x" * LIMIT, "PROMPTMILL_MAX_REQUEST_BYTES is 10,000"),
    ({"prompt": ""}, "the prompt is empty"),
    ({"key": "k"}, "neither request nor prompt"),
    ({"prompt": 5}, "not int"),
    ({"request": REQUEST, "modle": 1}, "unknown field 'modle'"),
    ({"request": REQUEST, "metadata": "text"}, "metadata must be a mapping"),
    ({"request": REQUEST, "metadata": {"a": "x" * 20_000}}, "metadata takes"),
    ({"request": REQUEST, "metadata": {"a": object()}}, "not JSON"),
    ({"request": REQUEST | {"generationConfig": {"temperature": object()}}}, "not JSON"),
    ({"request": {"contents": [{"parts": [{"text": "\ud800"}]}]}}, "not JSON"),
]


@pytest.mark.parametrize(("prompt", "refusal"), BAD_ROWS)
def test_a_row_that_cannot_be_sent_is_refused_alone(prompt: Any, refusal: str) -> None:
    first, bad, last = encode("a", prompt, "b")

    assert refusal in bad.refusal
    assert msgspec.json.decode(bad.data)["error"] == bad.refusal
    assert (first.refusal, last.refusal) == ("", "")


def test_a_request_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    assert encode({"request": REQUEST | {"tools": endless}})[0].refusal


def test_prompts_are_taken_one_by_one() -> None:
    lines = encode_lines(RUN, iter(["a", "b", 7]), LIMIT)  # type: ignore[arg-type]

    assert next(lines).row == 1
    assert next(lines).row == 2
    with pytest.raises(InvalidRequest):
        next(lines)
