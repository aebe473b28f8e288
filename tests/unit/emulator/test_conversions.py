"""Strings that the importer reads as numbers or booleans, and the rows that Gemini then refuses."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator import importer
from promptmill.emulator.columns import BOOLEANS
from promptmill.emulator.errors import JobFailed
from promptmill.emulator.importer import ImportLimits
from promptmill.emulator.memory_storage import MemoryStorage
from unit.emulator.stand import Stand, row


def import_rows(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Return rows as the importer makes them."""
    storage = MemoryStorage("in")
    storage.objects["gs://in/a"] = b"".join(json.dumps(one).encode() + b"\n" for one in rows)
    imported = importer.import_objects(storage, ["gs://in/a"], io.BytesIO(), ImportLimits())
    return [imported.read_row(index) for index in range(len(imported))]


def import_values(*values: Any) -> list[Any]:
    """Return values of one path, deep inside requests, as the importer makes them."""
    request = row("k")["request"]
    rows = [{"request": request | {"tools": [{"retrieval": {"value": value}}]}} for value in values]
    imported = import_rows(*rows)
    return [one["request"]["tools"][0]["retrieval"]["value"] for one in imported]


def answer(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the output lines of a job of these requests, in their order."""
    stand = Stand()
    stand.input(*({"key": f"k{n}", "request": request} for n, request in enumerate(requests)))
    ended = stand.look(stand.create(), at=3600)
    assert ended["state"] == "JOB_STATE_SUCCEEDED", ended
    return sorted(stand.output(), key=lambda line: str(line["key"]))


def refusals(*requests: dict[str, Any]) -> list[str]:
    """Return the message of each refused row, or ""."""
    texts = [line["status"].partition(": ")[2] for line in answer(*requests)]
    return [json.loads(text)["error"]["message"] if text else "" for text in texts]


def with_schema(schema: dict[str, Any], name: str = "responseSchema") -> dict[str, Any]:
    config = {"responseMimeType": "application/json", name: schema}
    request: dict[str, Any] = row("k")["request"]
    return request | {"generationConfig": config}


@pytest.mark.parametrize(
    ("values", "imported"),
    [
        (["000000"], [0]),
        (["-12", "1.5", "1e3"], [-12, 1.5, 1000]),
        (["1.0", 2, 0.5], [1, 2, 0.5]),
        ([1.0, 0.5], [1, 0.5]),
        (["yes", "NO", "t", "F", "y", "n"], [True, False, True, False, True, False]),
        (["true", True], [True, True]),
        (["1", "k1"], ["1", "k1"]),
        (["yes", "maybe"], ["yes", "maybe"]),
        (["yes", "1"], ["yes", "1"]),
        (["1", True], ["1", True]),
        (["", "1"], ["", "1"]),
        (["1e999"], ["1e999"]),
        (["٣"], ["٣"]),
        ([None, "7"], [None, 7]),
        ([["1", "2"], ["3"]], [[1, 2], [3]]),
        ([["1", "a"], ["3"]], [["1", "a"], ["3"]]),
    ],
)
def test_strings_are_converted_per_path_over_the_whole_file(
    values: list[Any], imported: list[Any]
) -> None:
    converted = import_values(*values)

    assert converted == imported
    assert [type(value) for value in converted] == [type(value) for value in imported]


@given(st.lists(st.sampled_from(["7", "0.5", "yes", "F", "text", ""]), min_size=1, max_size=6))
def test_one_string_that_is_surely_text_keeps_its_path(texts: list[str]) -> None:
    converted = import_values(*texts)

    is_numeric = all(text in {"7", "0.5"} for text in texts)
    is_boolean = all(text.lower() in BOOLEANS for text in texts)
    assert (converted == texts) == (not is_numeric and not is_boolean)
    assert all(isinstance(value, bool) for value in converted) == is_boolean


def test_keys_and_other_fields_come_back_converted() -> None:
    stand = Stand()
    stand.input(row("000001") | {"flag": "yes"}, row("2") | {"flag": "n"})
    stand.look(stand.create(), at=3600)

    assert sorted((line["key"], line["flag"]) for line in stand.output()) == [
        (1, True),
        (2, False),
    ]


def test_whole_numbers_come_back_without_a_fraction() -> None:
    (line,) = answer(row("k", temperature=1.0)["request"])

    assert line["status"] == ""
    assert type(line["request"]["generationConfig"]["temperature"]) is int


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"contents": [{"role": "user", "parts": [{"text": "42"}]}]},
            "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 42",
        ),
        (
            {"contents": {"role": "user", "parts": {"text": "Yes"}}},
            "Invalid value at 'contents.parts.text' (TYPE_STRING), true",
        ),
        (
            row("k", stopSequences=["1"])["request"],
            "Invalid value at 'generation_config.stop_sequences[0]' (TYPE_STRING), 1",
        ),
        (
            row("k")["request"] | {"labels": {"team": "1"}},
            "Invalid value at 'labels.team' (TYPE_STRING), 1",
        ),
        (
            with_schema({"type": "STRING", "enum": ["yes", "no"]}),
            "Invalid value at 'generation_config.response_schema.enum[0]' (TYPE_STRING), true",
        ),
        (
            with_schema({"type": "string", "enum": ["1", "2"]}, "responseJsonSchema"),
            "Invalid value at 'generation_config.response_json_schema.enum[0]' (TYPE_STRING), 1",
        ),
        (
            with_schema({"type": "OBJECT", "required": ["t"]}),
            "Invalid value at 'generation_config.response_schema.required[0]' (TYPE_STRING), true",
        ),
        (
            with_schema({"type": "OBJECT", "propertyOrdering": ["0", "1"]}),
            "Invalid value at 'generation_config.response_schema.property_ordering[0]' "
            "(TYPE_STRING), 0",
        ),
        (
            with_schema({"type": "OBJECT", "properties": {"0": {"type": "STRING"}}}),
            "Invalid value at 'generation_config.response_schema.properties[].key' "
            "(TYPE_STRING), 0",
        ),
        (
            with_schema({"type": "OBJECT", "properties": {"y": {"type": "NUMBER"}}}),
            "Invalid value at 'generation_config.response_schema.properties[].key' "
            "(TYPE_STRING), y",
        ),
        (
            row("k")["request"] | {"tools": [{"functionDeclarations": [{"name": "true"}]}]},
            "Invalid value at 'tools[0].function_declarations[0].name' (TYPE_STRING), true",
        ),
    ],
)
def test_gemini_refuses_converted_values_where_it_takes_only_strings(
    request_: dict[str, Any], message: str
) -> None:
    assert refusals(request_) == [message]


def test_a_text_in_any_other_row_keeps_the_path() -> None:
    requests = [
        {"contents": [{"role": "user", "parts": [{"text": text}]}]} for text in ("42", "yes", "hi")
    ]

    assert refusals(*requests) == ["", "", ""]


@pytest.mark.parametrize(
    "request_",
    [
        with_schema({"type": "integer", "enum": [1, 2]}, "responseJsonSchema"),
        with_schema({"type": "OBJECT", "properties": {"text": {"type": "INTEGER"}}}),
        with_schema({"type": "INTEGER", "minimum": "1"}),
        with_schema({"type": "STRING", "default": "1"}),
        row("k", maxOutputTokens=5000.0)["request"],
    ],
)
def test_numbers_are_accepted_where_a_field_takes_them(request_: dict[str, Any]) -> None:
    assert refusals(request_) == [""]


@pytest.mark.parametrize(
    "tool", [{"google_search": {"timeRangeFilter": None}}, {"googleSearch": {"excludeDomains": []}}]
)
def test_a_search_that_is_no_empty_object_passes_the_importer(tool: dict[str, Any]) -> None:
    (line,) = answer(row("k")["request"] | {"tools": [tool]})

    assert line["request"]["tools"] == [tool]
    assert line["response"]["candidates"][0]["groundingMetadata"]


def test_parts_as_one_object_are_echoed_so() -> None:
    request = {"contents": [{"role": "user", "parts": {"text": "A recipe, please."}}]}

    (line,) = answer(request)

    assert line["request"] == request
    assert line["response"]["candidates"]


NAMES = st.sampled_from(["a", "b", "text", "enum", "y", "0", "$x"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["1", "-2.0", "1e400", "no", "T", "text", "", "٣"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=3))
def test_any_rows_are_refused_as_a_file_or_imported_once_and_for_all(
    requests: list[dict[str, Any]],
) -> None:
    try:
        imported = import_rows(*({"request": request} for request in requests))
    except JobFailed as error:
        assert error.message.startswith("Failed to import data. ")
        return

    assert import_rows(*imported) == imported
