"""The failed requests of a run, read from its chunks."""

from typing import Any

import pytest

from promptmill.config.errors import PromptmillError
from promptmill.workers.cli_support import failed_requests
from promptmill.workers.fakes import Script
from support.fake_pipeline import RUN, FakePipeline

ROWS: list[Any] = [
    {"key": "a", "prompt": "one", "metadata": {"shop": 7}},
    {
        "key": "b",
        "request": {
            "contents": [{"parts": [{"text": "two"}]}],
            "generationConfig": {"temperature": 0, "topK": 3},
        },
    },
    {
        "key": "c",
        "request": {
            "contents": [{"parts": [{"text": "3"}]}],
            "generation_config": {"temperature": 0},
        },
    },
    {"key": "d-4", "prompt": "four"},
    {"key": "e", "prompt": ""},
]


def done(script: Script, **options: Any) -> FakePipeline:
    pipeline = FakePipeline(script=script, chunk_bytes=300, part_bytes=200, **options)
    pipeline.drive(pipeline.send(ROWS))
    return pipeline


def test_only_failed_requests_are_returned_as_submitted() -> None:
    pipeline = done(Script(missing=frozenset({0, 3})))

    assert list(failed_requests.find_failed(pipeline.folder(), (), {}).prompts) == [
        {
            "key": "a",
            "request": {"contents": [{"role": "user", "parts": [{"text": "one"}]}]},
            "metadata": {"shop": 7},
        },
        {"key": "d-4", "request": {"contents": [{"role": "user", "parts": [{"text": "four"}]}]}},
    ]


def test_only_the_selected_reasons_are_returned() -> None:
    pipeline = done(Script(missing=frozenset({0}), statuses={1: "Error: 400 INVALID_ARGUMENT: no"}))

    found = failed_requests.find_failed(pipeline.folder(), ["MISSING_ROW"], {})

    assert [prompt["key"] for prompt in found.prompts if isinstance(prompt, dict)] == ["a"]
    assert list(failed_requests.find_failed(pipeline.folder(), ["SAFETY"], {}).prompts) == []


def test_config_overrides_each_request_in_its_own_spelling() -> None:
    pipeline = done(Script(missing=frozenset({0, 1, 2})))

    requests: list[Any] = [
        one["request"]
        for one in failed_requests.find_failed(pipeline.folder(), (), {"topK": 9}).prompts
        if isinstance(one, dict)
    ]

    assert requests[0]["generationConfig"] == {"topK": 9}
    assert requests[1]["generationConfig"] == {"temperature": 0, "topK": 9}
    assert requests[2]["generation_config"] == {"temperature": 0, "topK": 9}
    assert "generationConfig" not in requests[2]


def test_a_request_that_succeeded_in_a_retry_is_not_returned() -> None:
    pipeline = done(Script(missing=frozenset({1})), max_attempts=2)

    assert pipeline.report(RUN).succeeded == 4
    assert list(failed_requests.find_failed(pipeline.folder(), (), {}).prompts) == []


def test_failed_requests_of_an_open_run_are_refused() -> None:
    pipeline = FakePipeline()
    pipeline.send(ROWS)

    with pytest.raises(PromptmillError, match="is not done"):
        failed_requests.find_failed(pipeline.folder(), (), {})
