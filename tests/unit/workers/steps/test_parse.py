"""Parsing of single lines of output, including malformed ones."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.producers.contract.results import Error, Result
from promptmill.workers.facts.records import Parsed
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.output.unkeyed import decode_unkeyed
from promptmill.workers.steps.parse import PartReader

ROWS = 10
ALL = RowSet.first(ROWS)


def read(*data: bytes, wanted: RowSet = ALL) -> tuple[list[Result], Parsed]:
    reader = PartReader("rtag", 1, 1, wanted)
    results = [
        msgspec.json.decode(line, type=Result)
        for line in reader.read_results(iter(enumerate(data)))
    ]
    return results, reader.build_parsed()


def line(
    row: int = 1, *, parts: Any = None, finish: str | None = "STOP", **fields: Any
) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": "hola"}] if parts is None else parts}
    response = {
        "candidates": [{"content": content, "finishReason": finish}],
        "usageMetadata": {"totalTokenCount": 3},
    }
    return {"key": f"rtag-{row}-k{row}", "status": "", "response": response, "request": {}} | fields


def one(value: dict[str, Any]) -> Result:
    (result,), _ = read(json.dumps(value).encode())
    return result


def test_an_answer_becomes_a_result() -> None:
    value = line(3, metadata='{"shop":7}', extra={"ignored": 1})
    value["response"]["modelVersion"] = "gemini-x"

    assert one(value) == Result(
        key="k3", row=3, state="succeeded", text="hola", finish_reason="STOP", usage={"totalTokenCount": 3},
        model_version="gemini-x", metadata={"shop": 7},
    )  # fmt: skip


def test_text_does_not_include_thoughts() -> None:
    assert (
        one(line(parts=[{"text": "hmm", "thought": True}, {"text": "a"}, {"text": "b"}])).text
        == "ab"
    )


def test_an_answer_with_more_than_text_keeps_googles_shape() -> None:
    call = {"functionCall": {"name": "f", "args": {"x": 1}}}

    result = one(line(parts=[call]))

    assert result.succeeded
    assert result.content == {"role": "model", "parts": [call]}


def test_a_null_field_is_not_content() -> None:
    result = one(line(parts=[{"text": "a", "functionCall": None, "inlineData": None}]))

    assert (result.text, result.content) == ("a", None)


FAILURES: list[tuple[dict[str, Any], Error]] = [
    (line(status='Bad Request: {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}', response={}),
     Error("INVALID_ARGUMENT", "no")),
    (line(status="Internal error"), Error("UNKNOWN", "Internal error")),
    (line(response={}), Error("EMPTY_RESPONSE", "the answer has no candidates")),
    (line(response=None), Error("EMPTY_RESPONSE", "the answer has no candidates")),
    (line(response={"candidates": []}), Error("EMPTY_RESPONSE", "the answer has no candidates")),
    (line(parts=[]), Error("EMPTY_RESPONSE", "the answer has no text")),
    (line(response={"promptFeedback": {"blockReason": "BLOCKLIST"}}), Error("BLOCKLIST")),
    (line(finish="SAFETY"), Error("SAFETY")),
    (line(finish="BRAND_NEW"), Error("OTHER", "Vertex reported BRAND_NEW")),
]  # fmt: skip


@pytest.mark.parametrize(("value", "error"), FAILURES)
def test_a_row_without_a_complete_answer_fails_with_the_reason(
    value: dict[str, Any], error: Error
) -> None:
    result = one(value)

    assert (result.state, result.error) == ("failed", error)


def test_truncated_text_is_kept_with_the_failure() -> None:
    result = one(line(finish="MAX_TOKENS"))

    assert (result.state, result.text, result.error) == ("failed", "hola", Error("MAX_TOKENS"))


def test_a_missing_finish_reason_is_not_a_failure() -> None:
    assert one(line(finish=None)).succeeded


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(line(parts=[{"text": "\ud800 half"}])).encode(),
        json.dumps(line()).encode().replace(b"hola", b"\xff\xfe"),
        json.dumps(line(avgLogprobs=float("nan"))).encode(),
        json.dumps(line())
        .encode()
        .replace(b'"totalTokenCount": 3', b'"totalTokenCount": Infinity'),
    ],
    ids=["half a surrogate pair", "bad UTF-8", "NaN", "Infinity"],
)
def test_billed_text_survives_a_malformed_field(data: bytes) -> None:
    (result,), parsed = read(data)

    assert result.succeeded
    assert result.text
    assert parsed.counts.unreadable == 0


@pytest.mark.parametrize("flaw", [b"\xff", b"\\ud800"])
def test_other_content_survives_a_malformed_field(flaw: bytes) -> None:
    data = (
        json.dumps(line(parts=[{"functionCall": {"name": "FLAW"}}])).encode().replace(b"FLAW", flaw)
    )

    (result,), _ = read(data)

    assert result.content == {"role": "model", "parts": [{"functionCall": {"name": "\ufffd"}}]}


UNREADABLE = [
    b"{", b"[]", b"null", b"1", b'"x"', b"\xff", b"{}x", b'{"key": 1}', b"[" * 100_000, b'{"a":' * 100_000,
    b'{"key":"rtag-1-k', b'{"key":"rtag-1-k","a":{"key":"rtag-3-k"',
]  # fmt: skip


@pytest.mark.parametrize("data", UNREADABLE, ids=[str(data[:12]) for data in UNREADABLE])
def test_unreadable_lines_are_counted_with_their_offset(data: bytes) -> None:
    results, parsed = read(json.dumps(line(2)).encode(), data)

    assert [result.row for result in results] == [2]
    assert (parsed.counts.unreadable, parsed.unreadable_at) == (1, [1])


@pytest.mark.parametrize("key", ["1", "", "rtag-1-", "rtag--1-k", "rtag-1e0-k", " k"])
def test_an_answer_with_a_changed_key_is_left_to_be_matched_by_its_request(key: str) -> None:
    reader = PartReader("rtag", 1, 1, RowSet.first(10))

    changed = line() | {"key": key, "request": {"contents": [{"parts": [{"text": "a"}]}]}}
    results = [*reader.read_results(iter([(0, json.dumps(changed).encode())]))]

    (unkeyed,) = map(decode_unkeyed, reader.unkeyed)
    assert (results, unkeyed.result.text, unkeyed.result.key) == ([], "hola", "")
    assert unkeyed.hash


@pytest.mark.parametrize("key", ["rtag-0-k", "rtag-11-k", "rother-1-k"])
def test_a_key_outside_the_shard_is_unknown(key: str) -> None:
    results, parsed = read(json.dumps(line() | {"key": key}).encode())

    assert (results, parsed.counts.unknown) == ([], 1)


def test_a_row_of_an_earlier_attempt_is_unknown_to_a_later_attempt() -> None:
    results, parsed = read(
        json.dumps(line(1)).encode(), json.dumps(line(2)).encode(), wanted=RowSet.of([1])
    )

    assert ([result.row for result in results], parsed.counts.unknown) == ([2], 1)


OUTCOMES = st.lists(
    st.tuples(st.integers(1, ROWS), st.sampled_from(["good", "bad", "transient", "noise"])),
    max_size=40,
)
BAD = {
    "bad": {"finish": "SAFETY"},
    "transient": {"status": 'x: {"error": {"code": 503}}'},
    "good": {},
}


@settings(max_examples=200)
@given(OUTCOMES)
def test_every_line_counts_exactly_once(outcomes: list[tuple[int, str]]) -> None:
    data = [
        b"{" if kind == "noise" else json.dumps(line(row, **BAD[kind])).encode()
        for row, kind in outcomes
    ]

    results, parsed = read(*data)

    counts = parsed.counts
    assert (
        counts.succeeded + counts.failed + counts.duplicates + counts.unreadable + counts.unknown
        == len(data)
    )
    assert (
        len(RowSet.unpack(parsed.succeeded))
        == counts.succeeded
        == sum(result.succeeded for result in results)
    )
    assert (
        len(RowSet.unpack(parsed.failed))
        == counts.failed
        == sum(not result.succeeded for result in results)
    )
    good = {row for row, kind in outcomes if kind == "good"}
    assert {result.row for result in results if result.succeeded} == good
    assert not RowSet.unpack(parsed.transient_rows) - RowSet.unpack(parsed.failed)
    assert counts.tokens.get("totalTokenCount", 0) == 3 * len(results)
    assert sum(counts.failures.values()) == counts.failed
