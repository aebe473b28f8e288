"""Texts that the importer would turn into numbers or booleans are found at any depth."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.emulator.columns import Columns
from promptmill.emulator.conversions import plan_conversions
from promptmill.producers.requests.converted_texts import is_converted
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.requests.held_lines import MAX_HELD_LINES
from promptmill.producers.requests.request_line import RequestLine
from support.importer_rule import import_lines

CONVERTED = ["0", "000000", "42", "-7", "+1", "1.", ".5", "1e5", "1E-5", "0x1F", "NaN", "inf",
    "-Infinity", "true", "FALSE", "t", "F", "yes", "No", "y", "N", " 42 ", "1\n", "9" * 60
]  # fmt: skip
PLAIN = ["hello", "42 apples", "1,000", "1.2.3", "2026-12-01", "none", "OFF", "tr", "e5"]


def encode(*prompts: Any) -> list[RequestLine]:
    return list(encode_lines("01jtest", prompts, 10_000))


def request(text: str = "a prompt", **fields: Any) -> dict[str, Any]:
    return {"request": {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}}


def refusals(*prompts: Any) -> list[str]:
    return [line.refusal for line in encode(*prompts)]


@pytest.mark.parametrize("text", CONVERTED)
def test_a_number_or_boolean_is_a_text_that_could_be_converted(text: str) -> None:
    assert is_converted(text)


@pytest.mark.parametrize("text", PLAIN)
def test_any_other_text_is_kept(text: str) -> None:
    assert not is_converted(text)


@pytest.mark.parametrize("other", ["hello", {"prompt": "hello"}, request("hello")])
@pytest.mark.parametrize("wrap", [str, lambda text: {"prompt": text}, request])
def test_one_text_keeps_the_numbers_of_the_run_before_and_after_it(wrap: Any, other: Any) -> None:
    lines = encode(wrap("42"), wrap("17"), other, wrap("yes"))

    assert [line.row for line in lines] == [1, 2, 3, 4]
    assert [line.refusal for line in lines] == ["", "", "", ""]


def test_without_such_a_text_every_row_is_refused_with_its_path_and_the_cure() -> None:
    lines = encode("42", {"key": "b", "prompt": "17"})

    assert [(line.row, line.key) for line in lines] == [(1, "1"), (2, "b")]
    for line, text in zip(lines, ["42", "17"], strict=True):
        assert f"request.contents[].parts[].text is the text '{text}'" in line.refusal
        assert "add a word to the prompt" in line.refusal
        assert msgspec.json.decode(line.data)["error"] == line.refusal


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"labels": {"team": "1"}}, "request.labels.team"),
        (
            {"generationConfig": {"stopSequences": ["1"]}},
            "request.generationConfig.stopSequences[]",
        ),
        (
            {"generation_config": {"stop_sequences": "n"}},
            "request.generation_config.stop_sequences[]",
        ),
        (
            {"tools": [{"functionDeclarations": [{"name": "f"}]}]},
            "request.tools[].functionDeclarations[].name",
        ),
        (
            {
                "contents": [
                    {"parts": [{"functionResponse": {"name": "g2", "response": {"v": "7"}}}]}
                ]
            },
            "request.contents[].parts[].functionResponse.response.v",
        ),
    ],
)
def test_a_text_of_any_field_is_found_and_a_text_of_another_row_keeps_it(
    fields: Any, path: str
) -> None:
    (alone,) = refusals(request(**fields))

    assert path in alone
    assert refusals(request(**fields), request(**with_words(fields))) == ["", ""]


def with_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: with_words(item) for name, item in value.items()}
    if isinstance(value, list):
        return [with_words(item) for item in value]
    return "word" if is_converted(value) else value


def test_a_number_in_quotes_is_refused_with_the_advice_to_drop_the_quotes() -> None:
    (refusal,) = refusals(request(generationConfig={"maxOutputTokens": "64"}))

    assert "request.generationConfig.maxOutputTokens is the text '64'" in refusal
    assert "without quotes" in refusal


def test_rows_that_keep_each_others_fields_are_both_sent() -> None:
    first, second = request("42", labels={"a": "word"}), request("word", labels={"a": "1"})

    assert refusals(first, second) == ["", ""]
    assert refusals(second, first) == ["", ""]


def test_an_empty_text_keeps_no_field() -> None:
    first, second = request(labels={"a": ""}), request(labels={"a": "1"})

    assert [bool(refusal) for refusal in refusals(first, second)] == [False, True]


def test_a_refused_row_keeps_no_field_of_another() -> None:
    first, second = request("42", labels={"a": "word"}), request("17", labels={"a": "1"})

    assert all(refusals(first, second))


def test_a_row_refused_for_another_reason_keeps_no_field() -> None:
    assert all(refusals("42", request("hello", tools=[{"urlContext": {}}]), "17"))


def test_lines_are_held_in_order_and_at_most_as_many_as_a_chunk_has() -> None:
    def prompts() -> Any:
        for row in range(MAX_HELD_LINES + 5):
            taken.append(row)
            yield "42"
        yield "hello"

    taken: list[int] = []
    lines = encode_lines("01jtest", prompts(), 10_000)

    assert (next(lines).row, len(taken)) == (1, MAX_HELD_LINES)
    rest = list(lines)
    assert [line.row for line in rest] == list(range(2, MAX_HELD_LINES + 7))
    assert [line.row for line in rest if not line.refusal] == list(
        range(MAX_HELD_LINES + 1, MAX_HELD_LINES + 7)
    )


def test_nothing_is_held_after_a_plain_text() -> None:
    lines = encode_lines("01jtest", iter(["hello", "42", "17"]), 10_000)

    assert [next(lines).row, next(lines).row] == [1, 2]


TEXTS = st.sampled_from([*CONVERTED, *PLAIN, "word", "", " "])
FIELDS = st.recursive(
    TEXTS | st.integers(0, 2),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "y", "n2"]), inner, max_size=2)
    ),
    max_leaves=4,
)
SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {"type": st.just("STRING")},
        optional={
            "enum": st.lists(TEXTS, min_size=1, max_size=2),
            "description": TEXTS,
            "pattern": TEXTS,
            "title": TEXTS,
            "default": TEXTS,
            "maxLength": st.sampled_from(["3", 3]),
        },
    ),
    lambda inner: st.builds(
        lambda properties, items: {
            "type": "OBJECT",
            "properties": properties | {"list": {"type": "ARRAY", "items": items}},
            "required": list(properties) or ["list"],
            "propertyOrdering": [*properties],
        },
        st.dictionaries(st.sampled_from(["y", "nan", "inf", "name"]), inner, max_size=2),
        inner,
    ),
    max_leaves=4,
)
PROMPTS = st.one_of(
    TEXTS,
    st.builds(request, TEXTS, labels=st.dictionaries(st.sampled_from("ab"), TEXTS, min_size=1)),
    st.builds(lambda text, value: request(text, generationConfig={"x": value}), TEXTS, FIELDS),
    st.builds(
        lambda text, name, schema: request(text, generationConfig={name: schema}),
        TEXTS,
        st.sampled_from(["responseSchema", "response_schema", "responseJsonSchema"]),
        SCHEMAS,
    ),
    st.builds(
        lambda parts, tools: {
            "request": {"contents": {"parts": parts}, "tools": tools, "system_instruction": {"parts": parts}}
        },
        st.fixed_dictionaries({"text": TEXTS}) | st.lists(st.fixed_dictionaries({"text": TEXTS})),
        st.sampled_from([{"google_search": {}}, [{"googleSearch": {}}], [{"google_search": {"timeRangeFilter": None}}]]),
    ),
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(PROMPTS, max_size=6))
def test_what_is_sent_is_imported_without_a_change(prompts: list[Any]) -> None:
    sent = [msgspec.json.decode(line.data) for line in encode(*prompts) if not line.refusal]

    assert import_lines(sent) == sent


@settings(max_examples=200)
@given(st.lists(PROMPTS, max_size=6))
def test_what_is_sent_is_imported_by_the_emulator_without_a_refusal(prompts: list[Any]) -> None:
    rows = [msgspec.json.decode(line.data) for line in encode(*prompts) if not line.refusal]
    columns = Columns()
    for row in rows:
        columns.add_row(row)
    conversion = plan_conversions(columns.fields)
    imported = [conversion.apply(deepcopy(row)) for row in rows] if conversion else rows

    assert imported == rows
    if conversion and "request" in conversion.fields:
        check = conversion.fields["request"].find_refusal
        assert [check(row["request"], "") for row in rows] == [""] * len(rows)
