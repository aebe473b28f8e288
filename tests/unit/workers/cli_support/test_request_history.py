"""The history of one request."""

from typing import Any

import pytest

from promptmill.config.errors import PromptmillError, RunNotFound
from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.cli_support import request_history
from promptmill.workers.fakes import Script
from support.fake_pipeline import RUN, FakePipeline

ROWS: list[Any] = [
    {"key": f"sku-{row}", "prompt": f"Say {row}", "metadata": {"shop": row}} for row in range(1, 41)
]


def done(script: Script, rows: list[Any] = ROWS, **options: Any) -> FakePipeline:
    pipeline = FakePipeline(
        script=script, chunk_bytes=500, max_requests=15, part_bytes=900, **options
    )
    pipeline.drive(pipeline.send(rows, sinks=[SinkSpec("jsonl", "gs://acme/answers")]))
    return pipeline


def test_a_request_is_shown_with_location_job_result_and_sinks() -> None:
    pipeline = done(Script())

    history = request_history.request_history(pipeline.bucket, RUN, "sku-17")

    assert (history["key"], history["row"], history["shard"], history["state"]) == (
        "sku-17",
        17,
        1,
        "succeeded",
    )
    assert history["request"]["contents"][0]["parts"] == [{"text": "Say 17"}]
    assert history["metadata"] == {"shop": 17}
    (attempt,) = history["attempts"]
    assert attempt["job"]
    assert attempt["job_state"] == "JOB_STATE_SUCCEEDED"
    assert attempt["result"]["text"] == "You said: Say 17"
    assert [(one["sink"], one["at"] > 0) for one in attempt["delivered"]] == [
        ("gs://acme/answers", True)
    ]


def test_every_attempt_is_shown_with_the_reason_for_its_retry() -> None:
    pipeline = done(Script(statuses={1: "Error: 503 UNAVAILABLE: later"}), max_attempts=2)

    first, second = request_history.request_history(pipeline.bucket, RUN, "sku-16")["attempts"]

    assert (first["is_retried"], first["result"]["error"]["reason"]) == (True, "UNKNOWN")
    assert (second["is_retried"], second["result"]["state"], second["attempt"]) == (
        False,
        "succeeded",
        2,
    )
    assert first["job"] != second["job"]
    assert first["delivered"] == []


def test_missing_and_refused_rows_are_shown_as_such() -> None:
    pipeline = done(Script(missing=frozenset({2})), [*ROWS, {"key": "empty", "prompt": ""}])

    missing, refused = (
        request_history.request_history(pipeline.bucket, RUN, "sku-3"),
        request_history.request_history(pipeline.bucket, RUN, "empty"),
    )

    assert missing["attempts"][0]["result"]["error"]["reason"] == "MISSING_ROW"
    assert refused["refused"]
    assert (refused["request"], refused["state"]) == (None, "failed")


@pytest.mark.parametrize("key", ["1", "40", "a-b", 'quote"d', "ключ", "7-sku", "back\\slash"])
def test_a_key_with_any_characters_is_found(key: str) -> None:
    rows: list[Any] = [f"Say {row}" for row in range(1, 41)] + [{"key": key, "prompt": "this"}] * (
        not key.isdigit()
    )
    pipeline = done(Script(), rows)

    history = request_history.request_history(pipeline.bucket, RUN, key)

    assert history["row"] == (int(key) if key.isdigit() else 41)


def test_a_row_number_as_key_reads_one_chunk() -> None:
    pipeline = done(Script(), [f"Say {row}" for row in range(1, 41)])
    read: list[str] = []
    real = pipeline.bucket.read

    def counted(name: str) -> bytes:
        read.append(name)
        return real(name)

    pipeline.bucket.read = counted  # type: ignore[method-assign]
    request_history.request_history(pipeline.bucket, RUN, "33")

    assert len([name for name in read if "/chunks/" in name]) == 1
    assert len([name for name in read if "/results/" in name]) == 1


def test_a_request_of_a_new_run_is_waiting() -> None:
    pipeline = FakePipeline()
    pipeline.send(ROWS)

    history = request_history.request_history(pipeline.bucket, RUN, "sku-1")

    assert (history["state"], history["attempts"]) == ("waiting", [])


def test_an_unknown_run_or_key_is_an_error() -> None:
    pipeline = done(Script())

    with pytest.raises(PromptmillError, match="no request with key 'sku'"):
        request_history.request_history(pipeline.bucket, RUN, "sku")
    with pytest.raises(RunNotFound):
        request_history.request_history(pipeline.bucket, "01jnone", "sku-1")
