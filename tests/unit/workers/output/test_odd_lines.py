"""Every line of output ends in exactly one state, whatever its form, and keeps its row and usage."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.producers.contract.results import Result
from promptmill.workers.facts.records import Parsed
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.output.unkeyed import UnkeyedResult, decode_unkeyed
from promptmill.workers.steps.parse import PartReader

Path = tuple[str | int, ...]
USAGE = {"promptTokenCount": 4, "candidatesTokenCount": 3, "totalTokenCount": 7}
TEXT = "Hola. Adiós."
LINE: dict[str, Any] = {
    "key": "rtag-1-k1",
    "metadata": '{"shop":7}',
    "status": "",
    "processed_time": "2026-08-10T10:00:01.000000+00:00",
    "request": {"contents": [{"role": "user", "parts": [{"text": "Say hello"}]}]},
    "response": {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Hola. "}, {"text": "Adiós."}]},
                "finishReason": "STOP",
                "avgLogprobs": -0.5,
                "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT"}],
            }
        ],
        "modelVersion": "gemini-3.8-flash",
        "usageMetadata": USAGE,
        "promptFeedback": None,
    },
}
CANDIDATE: Path = ("response", "candidates", 0)
PARTS: Path = (*CANDIDATE, "content", "parts")


def read(*data: bytes, attempt: int = 1) -> tuple[list[Result], list[UnkeyedResult], Parsed]:
    reader = PartReader("rtag", 1, attempt, RowSet.first(3), source="gs://acme/out/p.jsonl")
    offsets = (sum(len(line) + 1 for line in data[:number]) for number in range(len(data)))
    lines = [*reader.read_results(iter(list(zip(offsets, data, strict=True))))]
    results = [msgspec.json.decode(line, type=Result) for line in lines]
    return results, [*map(decode_unkeyed, reader.unkeyed)], reader.build_parsed()


def read_one(data: bytes) -> Result:
    (result,), _, _ = read(data)
    return result


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def replace(path: Path, value: object, line: dict[str, Any] = LINE) -> dict[str, Any]:
    changed = copy.deepcopy(line)
    owner: Any = changed
    for step in path[:-1]:
        owner = owner[step]
    owner[path[-1]] = value
    return changed


def remove(path: Path) -> dict[str, Any]:
    changed = copy.deepcopy(LINE)
    owner: Any = changed
    for step in path[:-1]:
        owner = owner[step]
    del owner[path[-1]]
    return changed


HARMLESS = {
    "an empty embedding": encode(replace(("response", "embedding"), {})),
    "an odd embedding": encode(replace(("response", "embedding"), "odd")),
    "a carriage return": encode(LINE) + b"\r",
    "the line as it is": encode(LINE),
    "a byte order mark": b"\xef\xbb\xbf" + encode(LINE),
    "a number out of range": encode(LINE).replace(b"-0.5", b"1e999"),
    "a number of 400 digits": encode(LINE).replace(b"-0.5", b"1" + b"0" * 400),
    "a number of 5,000 digits": encode(LINE).replace(b"-0.5", b"1" + b"0" * 5000),
    "a NUL byte": encode(LINE) + b"\0",
    "a raw newline escape in a text": encode(LINE).replace(b"2026-08", b"2026\t08"),
    "invalid UTF-8": encode(LINE).replace(b"Say hello", b"\xff\xfe"),
    "text after the line": encode(LINE) + b" trailing",
    "a list of one line": encode([LINE]),
    "candidates as an object": encode(
        replace(("response", "candidates"), LINE["response"]["candidates"][0])
    ),
    "parts as an object": encode(replace(PARTS, {"text": TEXT})),
    "nulls among candidates and parts": encode(
        replace(PARTS, [None, {"text": TEXT, "thought": None}])
    ),
    "usage as a list of one": encode(replace(("response", "usageMetadata"), [USAGE])),
    "a version that is a number": encode(replace(("response", "modelVersion"), 3.8)),
    "feedback that is a string": encode(replace(("response", "promptFeedback"), "odd")),
    "metadata as an object": encode(replace(("metadata",), {"shop": 7})),
    "a status that is an empty object": encode(replace(("status",), {})),
    "a status that is null": encode(replace(("status",), None)),
    "a finish reason that is null": encode(replace((*CANDIDATE, "finishReason"), None)),
    "an answer given twice, the second time as null": encode(LINE)[:-1] + b', "response": null}',
    "a response as text": encode(replace(("response",), json.dumps(LINE["response"]))),
}


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_an_answer_is_read_where_nothing_is_lost(data: bytes) -> None:
    (result,), _, parsed = read(data)

    assert (result.key, result.state, result.text, result.error) == ("k1", "succeeded", TEXT, None)
    assert (result.metadata, result.usage) == ({"shop": 7}, USAGE)
    assert parsed.counts.tokens["totalTokenCount"] == 7


@pytest.mark.parametrize("usage", [7, "odd", [], [1, 2], True, None])
def test_an_odd_usage_does_not_cost_the_answer(usage: object) -> None:
    result = read_one(encode(replace(("response", "usageMetadata"), usage)))

    assert (result.succeeded, result.text, result.usage) == (True, TEXT, {})


PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "response as a list": (replace(("response",), [LINE["response"]]), "response is a list"),
    "response as text": (
        replace(("response",), "odd") | {"usageMetadata": USAGE},
        "response is a string",
    ),
    "response as a number": (
        replace(("response",), 7) | {"usageMetadata": USAGE},
        "response is a number",
    ),
    "candidates as text": (
        replace(("response", "candidates"), "odd"),
        "response.candidates is a string, not a list",
    ),
    "a candidate as text": (
        replace(CANDIDATE, "odd"),
        "response.candidates[0] is a string, not an object",
    ),
    "content as a list": (
        replace((*CANDIDATE, "content"), ["odd"]),
        "response.candidates[0].content is a list",
    ),
    "parts as text": (replace(PARTS, "odd"), "response.candidates[0].content.parts is a string"),
    "a part as text": (
        replace((*PARTS, 0), "odd"),
        "response.candidates[0].content.parts[0] is a string",
    ),
    "text as a number": (
        replace((*PARTS, 1, "text"), 7),
        "response.candidates[0].content.parts[1].text is a number, not a string",
    ),
    "a thought as text": (
        replace((*PARTS, 0, "thought"), "yes"),
        "response.candidates[0].content.parts[0].thought is a string, not a boolean",
    ),
    "finish reason as a number": (
        replace((*CANDIDATE, "finishReason"), 1),
        "response.candidates[0].finishReason is a number, not a string",
    ),
    "status as a number": (replace(("status",), 400), "status is a number"),
    "an answer in prediction": (
        {"key": "rtag-1-k1", "prediction": LINE["response"]},
        "there is no answer where Google documents it, but there is prediction",
    ),
    "an answer in predictions": (
        replace(("response",), {"predictions": [LINE["response"]], "usageMetadata": USAGE}),
        "but there is response.predictions",
    ),
    "an answer in output": (
        replace(CANDIDATE, {"output": TEXT}),
        "but there is response.candidates[0].output",
    ),
    "an error in words": (
        {"key": "rtag-1-k1", "error": "odd", "usageMetadata": USAGE},
        "error is a string",
    ),
}


@pytest.mark.parametrize(("value", "place"), PLACES.values(), ids=PLACES)
def test_an_unreadable_line_names_its_place_and_keeps_its_row_and_usage(
    value: dict[str, Any], place: str
) -> None:
    (_, result), _, parsed = read(encode(LINE | {"key": "rtag-2-k2"}), encode(value))

    assert (result.key, result.state) == ("k1", "failed")
    assert result.error and result.error.reason == "UNREADABLE_RESPONSE"
    assert place in result.error.message
    offset = len(encode(LINE)) + 1
    assert f"The line is at byte {offset} of gs://acme/out/p.jsonl" in result.error.message
    assert result.usage == USAGE
    assert parsed.counts.tokens["totalTokenCount"] == 14


def test_text_beside_an_unreadable_member_is_delivered() -> None:
    assert read_one(encode(replace((*CANDIDATE, "finishReason"), 1))).text == TEXT


@pytest.mark.parametrize(("attempt", "retried"), [(1, 1), (2, 0), (3, 0)])
def test_an_unreadable_line_is_retried_once(attempt: int, retried: int) -> None:
    _, _, parsed = read(encode(replace(("response",), 7)), attempt=attempt)

    assert len(RowSet.unpack(parsed.transient_rows)) == retried


ERRORS: list[tuple[dict[str, Any], str, str]] = [
    ({"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}, "INVALID_ARGUMENT", "m"),
    ({"error": {"code": "429", "message": "m"}}, "RESOURCE_EXHAUSTED", "m"),
    ({"error": {"code": 8, "message": "m"}}, "RESOURCE_EXHAUSTED", "m"),
    ({"error": {"code": 3, "message": "m"}, "response": {}}, "INVALID_ARGUMENT", "m"),
    ({"status": {"code": 13, "message": "m"}}, "INTERNAL", "m"),
    ({"status": {"error": {"code": 503, "message": "m"}}}, "UNAVAILABLE", "m"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "reason", "message"), ERRORS)
def test_an_error_object_in_place_of_an_answer_has_its_reason(
    members: dict[str, Any], reason: str, message: str
) -> None:
    result = read_one(encode({"key": "rtag-1-k1", "request": LINE["request"]} | members))

    assert result.error and (result.error.reason, result.error.message) == (reason, message)


def test_a_part_of_an_unknown_kind_is_content() -> None:
    part = {"toolCall": {"id": 1}}

    result = read_one(encode(replace(PARTS, [part])))

    assert result.succeeded
    assert result.content == {"role": "model", "parts": [part]}


@pytest.mark.parametrize("length", range(60, len(encode(LINE)), 37))
def test_a_cut_line_keeps_its_row(length: int) -> None:
    result = read_one(encode(LINE)[:length])

    assert (result.key, result.row) == ("k1", 1)
    assert result.error and result.error.reason == "UNREADABLE_RESPONSE"
    assert "the line is not JSON" in result.error.message


def test_a_cut_line_keeps_the_usage_that_it_has() -> None:
    result = read_one(encode(LINE)[:-5])

    assert result.usage == USAGE


def test_a_line_that_is_nested_too_deeply_keeps_its_row_and_usage() -> None:
    data = encode(LINE)[:-1] + b', "deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    result = read_one(data)

    assert result.error and "nested too deeply" in result.error.message
    assert (result.key, result.usage) == ("k1", USAGE)


def test_usage_of_a_line_without_a_row_counts() -> None:
    _, _, parsed = read(encode({"response": LINE["response"] | {"candidates": "odd"}}))

    assert (parsed.counts.unreadable, parsed.counts.tokens["totalTokenCount"]) == (1, 7)


@pytest.mark.parametrize("data", [b"\r", b"  ", b"\t\r", b"\0\0"])
def test_a_blank_line_is_none(data: bytes) -> None:
    _, _, parsed = read(data, encode(LINE), data)

    assert (parsed.counts.unreadable, parsed.counts.succeeded) == (0, 1)


def test_usage_in_metadata_is_not_that_of_the_answer() -> None:
    metadata = {"usageMetadata": {"totalTokenCount": 9}}

    result = read_one(encode(replace(("metadata",), metadata)))

    assert (result.usage, result.metadata) == (USAGE, metadata)


def test_a_key_at_another_place_is_found() -> None:
    assert read_one(encode(replace(("key",), {"key": "rtag-1-k1"}))).key == "k1"


WRAPPED = [
    ({"prediction": LINE}, "prediction"),
    ({"instance": {"key": "rtag-1-k1"}, "prediction": LINE["response"]}, "instance"),
    ({"a": {"b": LINE}, "request": LINE["request"]}, "a"),
]


@pytest.mark.parametrize(("value", "place"), WRAPPED)
def test_a_wrapped_line_keeps_its_row_and_usage(value: dict[str, Any], place: str) -> None:
    result = read_one(encode(value))

    assert (result.key, result.row, result.usage) == ("k1", 1, USAGE)
    assert result.error and result.error.message.startswith(
        f"there is no answer where Google documents it, but there is {place}."
    )


FORMS = [b"%b%b", b"%b %b", b"%b,%b,", b"\xef\xbb\xbf%b\xef\xbb\xbf%b", b"[%b, null, %b]", b"%b%b{"]


@pytest.mark.parametrize("form", FORMS)
def test_each_of_several_objects_in_a_line_answers_its_row(form: bytes) -> None:
    line = form % (encode(LINE), encode(LINE | {"key": "rtag-2-k2"}))

    results, _, parsed = read(line)

    assert [(result.key, result.text) for result in results] == [("k1", TEXT), ("k2", TEXT)]
    assert parsed.counts.tokens["totalTokenCount"] == 14


@pytest.mark.parametrize("status", [" ", "OK", "200 OK", 200, 0, {"code": 0}, {"code": "200"}])
def test_an_answer_beside_a_status_of_success_is_read(status: object) -> None:
    assert read_one(encode(replace(("status",), status))).text == TEXT


@pytest.mark.parametrize(
    "value",
    [
        {"key": "rtag-1-k1", "usageMetadata": USAGE, "response": {"candidates": [{}]}},
        LINE | {"usageMetadata": USAGE, "response": LINE["response"] | {"usageMetadata": None}},
    ],
)
def test_usage_outside_the_response_counts(value: dict[str, Any]) -> None:
    assert read_one(encode(value)).usage == USAGE


def test_tokens_of_an_embedding_at_an_unknown_place_count() -> None:
    result = read_one(
        encode(
            {"key": "rtag-1-k1", "response": {"tokenCount": "2", "embeddings": [{"values": [1]}]}}
        )
    )

    assert result.error and result.error.reason == "UNREADABLE_RESPONSE"
    assert result.usage["totalTokenCount"] == 2


def test_content_beside_an_empty_text_is_delivered() -> None:
    part = {"text": "", "functionCall": {"name": "f"}}

    assert read_one(encode(replace(PARTS, [part]))).content == {"role": "model", "parts": [part]}


def test_an_odd_line_without_a_key_can_be_matched_by_its_request() -> None:
    _, (unkeyed,), _ = read(encode(replace(("response", "candidates"), 7) | {"key": 1}))

    assert unkeyed.hash
    assert unkeyed.result.error and unkeyed.result.error.reason == "UNREADABLE_RESPONSE"


def paths_of(value: object, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for name, member in items:
        yield from paths_of(member, (*path, name))


EMBEDDED: dict[str, Any] = LINE | {
    "request": {"content": {"parts": [{"text": "Say hello"}]}},
    "response": {"embedding": {"values": [-0.5, 0.25]}, "usageMetadata": USAGE},
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.just("rtag-2-other"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "parts", "key", "error", "candidates", "content", "usageMetadata"]
            )
            | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@st.composite
def mutated_lines(draw: st.DrawFn) -> tuple[bytes, bool, bool]:
    """A line with some members replaced, added or removed; whether key and usage are intact."""
    line = copy.deepcopy(draw(st.sampled_from([LINE, EMBEDDED])))
    paths = st.sampled_from(list(paths_of(line)))
    for path in draw(st.lists(paths, min_size=1, max_size=3, unique=True)):
        _mutate(line, path, draw(st.sampled_from(["replace", "remove", "add"])), draw(VALUES))
    data = json.dumps(line).encode()
    cut = draw(st.none() | st.integers(0, len(data)))
    response = line.get("response")
    has_usage = isinstance(response, dict) and response.get("usageMetadata") == USAGE
    return data[:cut], line.get("key") == LINE["key"] and cut is None, has_usage and cut is None


def _mutate(line: dict[str, Any], path: Path, kind: str, value: object) -> None:
    owner: Any = line
    for step in path[:-1]:
        try:
            owner = owner[step]
        except (KeyError, IndexError, TypeError):
            return
    if kind == "replace" and isinstance(owner, dict):
        owner[path[-1]] = value
    elif kind == "remove" and isinstance(owner, dict):
        owner.pop(path[-1], None)
    elif kind == "add" and isinstance(owner, dict):
        owner["odd"] = value
    elif isinstance(owner, list):
        owner.insert(0, value)


@settings(max_examples=500, deadline=None)
@given(mutated_lines())
def test_any_mutation_of_a_line_ends_in_exactly_one_state(
    mutated: tuple[bytes, bool, bool],
) -> None:
    data, has_key, has_usage = mutated

    results, unkeyed, parsed = read(data, data)

    counts = parsed.counts
    states = (
        counts.succeeded + counts.failed + counts.duplicates + counts.unknown + counts.unreadable
    )
    assert states + len(unkeyed) == 2 * bool(data)
    if has_key:
        assert [(result.key, result.row) for result in results] == [("k1", 1)]
        assert counts.duplicates == 1
        if has_usage:
            assert counts.tokens == dict(sorted(USAGE.items()))
