"""Rows that were cut off are tried again with more tokens, if the run allows it and it can help."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers.contract.results import Error, Result
from promptmill.workers.attempts.token_limit import can_raise_limit, raise_limit
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import FakeJobs, Script
from promptmill.workers.fakes.output import make_response
from support.fake_pipeline import RUN, FakePipeline

QUOTA = 'Too Many Requests: {"error": {"code": 429}}'
NEEDED = 50


def prompt(text: str, **config: Any) -> dict[str, Any]:
    request = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    return {"request": request | ({"generationConfig": config} if config else {})}


def answer(request: dict[str, Any]) -> str | dict[str, Any]:
    """Answer in full what may take NEEDED tokens, and cut off everything else at its limit, or at 20."""
    allowed = request.get("generationConfig", {}).get("maxOutputTokens", 20)
    text = request["contents"][0]["parts"][0]["text"]
    if allowed >= NEEDED:
        return f"all of {text}"
    whole = make_response(f"half of {text}")
    whole["candidates"][0]["finishReason"] = "MAX_TOKENS"
    whole["usageMetadata"]["candidatesTokenCount"] = allowed
    return whole


def pipeline(tokens: int = 64, max_attempts: int = 3, **script: Any) -> FakePipeline:
    made = FakePipeline(
        retry_max_tokens=tokens, max_attempts=max_attempts, script=Script(seed=None, **script)
    )
    made.jobs = FakeJobs(made.bucket, answer, script=made.script, clock=made.clock)
    return made


def asked(pipeline: FakePipeline, attempt: int) -> list[Any]:
    """The requests of an attempt, as Vertex reads them."""
    data = pipeline.bucket.read(pipeline.folder().attempt(0, attempt).input_file)
    return [msgspec.json.decode(line) for line in data.splitlines()]


def test_a_row_that_was_cut_off_is_tried_again_with_more_tokens_and_all_else_as_it_was() -> None:
    made = pipeline()

    report = made.drive(
        made.send(
            [prompt("a", maxOutputTokens=9, temperature=0.10), prompt("b", maxOutputTokens=99)]
        )
    )

    assert (report.state, report.jobs) == ("succeeded", 2)
    assert [result.text for result in made.results(RUN)] == ["all of a", "all of b"]
    first, again = asked(made, 1)[0], asked(made, 2)
    first["request"]["generationConfig"]["maxOutputTokens"] = 64
    assert again == [first]


@pytest.mark.parametrize(
    ("tokens", "max_attempts", "config"),
    [
        (0, 3, {"maxOutputTokens": 9}),
        (64, 1, {"maxOutputTokens": 9}),
        (30, 3, {"maxOutputTokens": 30}),
        (20, 3, {}),
    ],
    ids=["not allowed", "no attempt left", "no more than it had", "no more than it used"],
)
def test_a_row_is_not_paid_for_again_when_that_may_not_be_or_would_not_help(
    tokens: int, max_attempts: int, config: dict[str, int]
) -> None:
    made = pipeline(tokens, max_attempts)

    report = made.drive(made.send([prompt("a", **config)]))

    assert (report.failures, report.jobs) == ({"MAX_TOKENS": 1}, 1)
    assert made.results(RUN)[0].text == "half of a"


def test_a_row_that_names_no_limit_is_tried_again_when_it_used_less() -> None:
    made = pipeline()

    assert made.drive(made.send([prompt("a")])).succeeded == 1
    assert asked(made, 2)[0]["request"]["generationConfig"] == {"maxOutputTokens": 64}


def test_a_row_that_is_cut_off_again_has_had_its_chance() -> None:
    made = pipeline(tokens=40)

    report = made.drive(made.send([prompt("a", maxOutputTokens=9)]))

    assert (report.failures, report.jobs) == ({"MAX_TOKENS": 1}, 2)


def test_only_rows_that_were_cut_off_get_more() -> None:
    made = pipeline(statuses={1: QUOTA})

    report = made.drive(
        made.send([prompt("a", maxOutputTokens=9), prompt("b", maxOutputTokens=60), prompt("c")])
    )

    assert report.state == "succeeded"
    budgets = [
        [one["request"]["generationConfig"]["maxOutputTokens"] for one in asked(made, n)]
        for n in (2, 3)
    ]
    assert budgets == [[64, 60, 64], [60]]


def test_a_row_keeps_what_it_got_when_it_fails_for_another_reason_in_between() -> None:
    made = pipeline(statuses={0: QUOTA}, max_attempts=3)
    run = made.send([prompt("a", maxOutputTokens=9), prompt("b", maxOutputTokens=9)])
    made.jobs.script = Script(seed=None)
    for step in (
        Step("plan", run),
        Step("shard", run, (0, 1)),
        Step("submit", run, (0, 1)),
        Step("poll", run, (0, 1)),
    ):
        made.do(step)
    made.jobs.script = made.script

    report = made.drive(run)

    assert report.failures == {"RESOURCE_EXHAUSTED": 1}
    assert [one["request"]["generationConfig"] for one in asked(made, 3)] == [
        {"maxOutputTokens": 64}
    ]


def test_answers_without_keys_are_joined_by_what_was_asked_in_either_attempt() -> None:
    made = pipeline(unkeyed=frozenset({0, 1, 2}))

    report = made.drive(
        made.send([prompt("a", maxOutputTokens=9), prompt("b"), prompt("c", maxOutputTokens=99)])
    )

    assert (report.state, report.jobs, report.unknown) == ("succeeded", 2, 0)
    assert [result.text for result in made.results(RUN)] == ["all of a", "all of b", "all of c"]


def test_the_input_of_an_attempt_has_the_same_bytes_however_often_it_is_written() -> None:
    made = pipeline()
    made.drive(made.send([prompt("a", maxOutputTokens=9)]))
    folder = made.folder().attempt(0, 2).path
    first = made.bucket.read(folder + "input.jsonl")
    made.bucket.delete(folder + "input.json")

    made.do(Step("shard", RUN, (0, 2)))

    assert made.bucket.read(folder + "input.jsonl") == first


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.dictionaries(st.text(), inner),
)
CONFIGS = st.dictionaries(
    st.sampled_from(["temperature", "maxOutputTokens", "max_output_tokens", "seed"]), st.integers(1)
)


@given(
    JSON,
    st.sampled_from([{}, {"metadata": "{}"}]),
    st.sampled_from(["generationConfig", "generation_config"]),
    CONFIGS,
)
def test_nothing_but_the_budget_of_a_line_is_changed(
    contents: Any, beside: dict[str, str], where: str, config: dict[str, int]
) -> None:
    line = msgspec.json.encode(
        {"key": "r-1-1"} | beside | {"request": {"contents": contents, where: config}}
    )

    wire = msgspec.json.decode(raise_limit(line, 77))

    field = "max_output_tokens" if "max_output_tokens" in config else "maxOutputTokens"
    assert wire.pop("request") == {"contents": contents, where: config | {field: 77}}
    assert wire == {"key": "r-1-1"} | beside
    assert raise_limit(raise_limit(line, 77), 77) == raise_limit(line, 77)


@pytest.mark.parametrize(
    "line", [b"{}", b"{", b'{"request":null}', b'{"request":{"generationConfig":null}}', b"\xff"]
)
def test_what_an_unreadable_echo_does_not_tell_is_told_by_what_was_used(line: bytes) -> None:
    cut_off = Result(
        "a", 1, "failed", usage={"candidatesTokenCount": 30}, error=Error("MAX_TOKENS")
    )

    assert can_raise_limit(cut_off, line, 31)
    assert not can_raise_limit(cut_off, line, 30)


@pytest.mark.parametrize("config", [{"maxOutputTokens": 40}, {"max_output_tokens": "40"}])
def test_the_limit_that_the_echo_names_counts_before_what_was_used(
    config: dict[str, object],
) -> None:
    cut_off = Result(
        "a", 1, "failed", usage={"candidatesTokenCount": 30}, error=Error("MAX_TOKENS")
    )
    line = msgspec.json.encode({"request": {"generationConfig": config}})

    assert can_raise_limit(cut_off, line, 41)
    assert not can_raise_limit(cut_off, line, 40)
