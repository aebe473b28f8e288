"""What is JSON in a result stays as it is, but for NUL where a sink cannot keep one."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from promptmill.workers.sinks.rows import parse_lines, read_properties, replace_nul

TEXT = st.text(st.sampled_from('\0\\u0"aé\n\u2028'), max_size=12)
JSON = st.recursive(
    TEXT | st.none() | st.integers(),
    lambda inner: st.dictionaries(TEXT, inner) | st.lists(inner),
    max_leaves=8,
)


def replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "�")
    if isinstance(value, dict):
        return {replaced(name): replaced(inner) for name, inner in value.items()}
    return [replaced(inner) for inner in value] if isinstance(value, list) else value


@given(JSON)
def test_every_nul_and_nothing_else_is_replaced(value: Any) -> None:
    fit = replace_nul(json.dumps(value).encode())

    assert b"\0" not in fit
    assert json.loads(fit) == replaced(value)


@given(JSON)
def test_a_line_says_whether_a_nul_was_replaced(value: Any) -> None:
    line = (
        json.dumps({"key": "k", "row": 1, "state": "succeeded", "metadata": value}).encode() + b"\n"
    )

    (kept,), (fit,) = parse_lines(line), parse_lines(line, keep_nul=False)

    assert not kept.had_nul
    assert json.loads(bytes(kept.row.metadata)) == value
    assert fit.had_nul is (replaced(value) != value)


@given(JSON)
def test_properties_are_those_of_an_object(value: Any) -> None:
    line = (
        json.dumps({"key": "k", "row": 1, "state": "succeeded", "parsed": value}).encode() + b"\n"
    )

    (found,) = parse_lines(line)

    assert {name: json.loads(bytes(raw)) for name, raw in read_properties(found.row).items()} == (
        value if isinstance(value, dict) else {}
    )
