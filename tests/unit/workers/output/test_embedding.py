"""An output line of an embedding becomes a result with the vector, byte for byte."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.results import Result
from promptmill.workers.facts.records import Parsed
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.fakes import Script
from promptmill.workers.steps.parse import PartReader
from support.fake_pipeline import FakePipeline

MODEL = "publishers/google/models/gemini-embedding-001"
REQUEST = {
    "content": {"parts": [{"text": "Hello World"}]},
    "embed_content_config": {
        "output_dimensionality": 3,
        "title": "some_title",
        "task_type": "RETRIEVAL_DOCUMENT",
    },
}
VALUES = [-0.015, 0.024, 0.5]
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15)


def line(response: Any, request: Any = REQUEST) -> bytes:
    return json.dumps({"key": "rtag-1-id_1", "request": request, "response": response}).encode()


def embedded(values: Any, **others: Any) -> bytes:
    return line({"tokenCount": "2", "embedding": {"values": values}} | others)


def read(data: bytes) -> tuple[Result, Parsed, bytes]:
    reader = PartReader("rtag", 1, 1, RowSet.first(3), source="gs://acme/out/p.jsonl")
    (raw,) = reader.read_results(iter([(0, data)]))
    return msgspec.json.decode(raw, type=Result), reader.build_parsed(), raw


def failure(data: bytes) -> str:
    result, parsed, _ = read(data)
    assert result.embedding is None
    assert result.key == "id_1"
    assert result.error and result.error.reason == FailureReason.UNREADABLE_RESPONSE
    assert parsed.counts.failed == 1
    return result.error.message


def test_the_line_of_googles_page_becomes_a_result_with_the_vector() -> None:
    result, parsed, _ = read(embedded(VALUES))

    assert result.state == "succeeded"
    assert result.embedding == VALUES
    assert result.usage == {"promptTokenCount": 2, "totalTokenCount": 2}
    assert parsed.counts.billed == {"input": 2}


@pytest.mark.parametrize(
    "response",
    [
        {"tokenCount": 2},
        {"usageMetadata": {"promptTokenCount": 2, "totalTokenCount": 2}},
        {"statistics": {"tokenCount": "2"}},
        {"embedding": {"values": VALUES, "statistics": {"token_count": 2.0, "truncated": False}}},
    ],
)
def test_every_known_place_of_the_token_count_is_billed(response: Any) -> None:
    result, parsed, _ = read(line({"embedding": {"values": VALUES}} | response))

    assert result.embedding == VALUES
    assert parsed.counts.billed == {"input": 2}


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ([0.1, "0.2", 0.3], "response.embedding.values[1] is a string, not a number"),
        ([0.1, None, 0.3], "response.embedding.values[1] is null, not a number"),
        ([0.1, 0.2, math.nan], "response.embedding.values[2] is null, not a number"),
        ([0.1, [0.2], 0.3], "response.embedding.values[1] is a list, not a number"),
        ([0.1, True, 0.3], "response.embedding.values[1] is a boolean, not a number"),
        ([[0.1, 0.2, 0.3]], "response.embedding.values[0] is a list, not a number"),
        ([0.1, 0.2], "response.embedding.values has 2 numbers, not 3"),
        ([0.1] * 4, "response.embedding.values has 4 numbers, not 3"),
        ([], "response.embedding.values is empty"),
        ({"0": 0.1}, "response.embedding.values is an object, not a list of numbers"),
        ("AAAA", "response.embedding.values is a string, not a list of numbers"),
        (None, "response.embedding.values is null, not a list of numbers"),
    ],
)
def test_an_odd_vector_names_its_place_and_keeps_its_usage(values: Any, place: str) -> None:
    assert place in failure(embedded(values))
    assert read(embedded(values))[1].counts.billed == {"input": 2}


def test_a_vector_without_values_is_unreadable() -> None:
    assert "values is missing" in failure(line({"embedding": {}, "tokenCount": "2"}))


def test_a_number_out_of_range_is_unreadable() -> None:
    data = embedded(VALUES).replace(b"0.024", b"1e999")

    assert "response.embedding.values[1]" in failure(data)


def test_a_failed_row_of_an_embedding_job_has_googles_reason() -> None:
    status = 'Bad Request: {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}'
    fields = {"key": "rtag-1-k", "status": status, "request": REQUEST, "response": {}}

    result, _, _ = read(json.dumps(fields).encode())

    assert result.error and result.error.reason == "INVALID_ARGUMENT"


@given(st.lists(NUMBER, min_size=1, max_size=8))
def test_any_vector_arrives_unchanged_in_the_same_bytes(values: list[float]) -> None:
    request = {"content": REQUEST["content"]}
    text = json.dumps(values)

    result, _, raw = read(line({"embedding": {"values": values}}, request))

    assert result.embedding == values
    assert f'"embedding":{text}'.encode() in raw


ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.text(max_size=3) | st.just([]) | st.just({})
)


@given(st.lists(NUMBER | ODD, max_size=5))
def test_a_row_succeeds_exactly_if_every_value_is_a_number(values: list[Any]) -> None:
    request = {"content": REQUEST["content"]}

    result, _, _ = read(line({"embedding": {"values": values}}, request))

    is_vector = bool(values) and all(type(value) in (int, float) for value in values)
    assert result.succeeded is is_vector


def test_a_run_of_texts_ends_with_a_vector_for_every_key() -> None:
    pipeline = FakePipeline(model=MODEL, embedding_config={"output_dimensionality": 3})
    texts = [{"key": f"k{row}", "prompt": f"text {'x' * row}"} for row in range(1, 6)]

    run = pipeline.send(texts)
    report = pipeline.drive(run)

    assert (report.state, report.succeeded) == ("succeeded", 5)
    assert [len(result.embedding or ()) for result in pipeline.results(run)] == [3] * 5
    assert report.tokens["promptTokenCount"] == 10
    assert pipeline.folder().manifest.get().embedding_config == {"output_dimensionality": 3}


def test_identical_texts_are_embedded_once_and_every_key_has_the_vector() -> None:
    pipeline = FakePipeline(model=MODEL)

    run = pipeline.send(
        ["same text", {"prompt": "same text"}, {"request": {"content": "same text"}}]
    )
    report = pipeline.drive(run)

    vectors = [result.embedding for result in pipeline.results(run)]
    assert vectors == [[0.25, 0.25, 0.25, 0.25]] * 3
    assert report.tokens["promptTokenCount"] == 2


def test_rows_that_failed_are_tried_again_and_rows_without_a_key_are_found() -> None:
    status = '{"error": {"code": 429, "message": "later", "status": "RESOURCE_EXHAUSTED"}}'
    script = Script(statuses={1: f"Too Many Requests: {status}"}, unkeyed=frozenset({2}))
    pipeline = FakePipeline(model=MODEL, script=script, max_attempts=2)

    run = pipeline.send([f"text {row}" for row in range(4)])
    pipeline.drive(run)

    states = [(result.attempt, bool(result.embedding)) for result in pipeline.results(run)]
    assert states == [(1, True), (2, True), (1, True), (1, True)]
