"""JSON that comes out of BigQuery as text is understood like JSON that comes as what it is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.workers.output.nested_json import unnest_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)


@given(
    OBJECTS,
    OBJECTS,
    st.text(),
    st.sampled_from([(), ("request",), ("response",), ("request", "response")]),
)
def test_whichever_of_both_comes_as_text_the_line_is_the_same(
    request: dict[str, object], response: dict[str, object], key: str, as_text: tuple[str, ...]
) -> None:
    line: dict[str, object] = {"key": key, "request": request, "response": response, "status": ""}
    told = line | {name: msgspec.json.encode(line[name]).decode() for name in as_text}

    assert msgspec.json.decode(unnest_json(msgspec.json.encode(told))) == line


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"response":"',
        b'{"response":"no JSON"}',
        b'["request":"x"]',
        b'{"key":"r1","response":{"args":{"request":"a word"}}}',
        b'{"response":"\xff"}',
        b"[" * 10_000 + b'"response":"',
    ],
)
def test_what_is_neither_stays_as_it_is(line: bytes) -> None:
    assert unnest_json(line) == line
