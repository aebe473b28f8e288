"""Answers of a run with a response schema are checked; one that does not fit is asked for once more, if the run says so."""

import json
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract import parsed_models
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Result
from promptmill.producers.requests.encode import Prompt
from promptmill.workers.attempts.schema_feedback import (
    append_feedback,
    write_feedback,
)
from promptmill.workers.facts import records
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import FakeJobs, Script
from promptmill.workers.fakes.output import make_response
from promptmill.workers.output.schema_validation import Validator
from support.fake_pipeline import RUN, FakePipeline

QUOTA = 'Too Many Requests: {"error": {"code": 429}}'
HEARD = "\n\nYour last answer to this did not fit the response schema ("


class Review(BaseModel):
    mood: Literal["good", "bad", "mixed"]
    stars: int = Field(ge=1, le=5)


GOOD = {"mood": "good", "stars": 5}


def answer(request: dict[str, Any]) -> str | dict[str, Any]:
    """Answer as the first word of the prompt says; "mends" does it right once it heard what was wrong."""
    word, *_ = request["contents"][0]["parts"][0]["text"].split()
    heard = request["contents"][-1]["parts"][-1]["text"].startswith(HEARD)
    if word == "good" or (word == "mends" and heard):
        return json.dumps(GOOD, indent=1)
    if word == "cut" and request["generationConfig"].get("maxOutputTokens") != 64:
        whole = make_response('{"mood":')
        whole["candidates"][0]["finishReason"] = "MAX_TOKENS"
        return whole
    return json.dumps({"mood": "secret", "stars": 9})


def pipeline(
    retry: bool = True, max_attempts: int = 3, schema: object = Review, **options: Any
) -> FakePipeline:
    script = Script(
        seed=None,
        **{name: options.pop(name) for name in ("statuses", "unkeyed") if name in options},
    )
    made = FakePipeline(
        response_schema=schema,
        retry_schema_invalid=retry,
        max_attempts=max_attempts,
        script=script,
        **options,
    )
    made.jobs = FakeJobs(made.bucket, answer, script=made.script, clock=made.clock)
    return made


def asked(pipeline: FakePipeline, attempt: int) -> list[Any]:
    """The requests of an attempt, as Vertex reads them."""
    data = pipeline.bucket.read(pipeline.folder().attempt(0, attempt).input_file)
    return [msgspec.json.decode(line) for line in data.splitlines()]


def test_an_answer_that_fits_is_parsed_and_one_that_does_not_fails_and_says_where() -> None:
    made = pipeline(retry=False)

    report = made.drive(made.send(["good one", "bad one"]))

    good, bad = made.results(RUN)
    assert (good.parsed, good.error) == (GOOD, None)
    assert report.failures == {"SCHEMA_INVALID": 1}
    assert bad.error
    assert bad.error.message == (
        '/mood: the value is not one of "good", "bad" or "mixed"; /stars: the value is greater than the maximum of 5'
    )
    assert (bad.parsed, json.loads(bad.text)) == (None, {"mood": "secret", "stars": 9})


def test_the_schema_is_in_every_request_beside_what_the_request_says_itself() -> None:
    own = {"contents": [{"parts": [{"text": "good b"}]}], "generationConfig": {"temperature": 0.5}}
    made = pipeline()

    made.drive(made.send(["good a", {"request": own}]))

    configs = [one["request"]["generationConfig"] for one in asked(made, 1)]
    assert configs[0]["responseMimeType"] == "application/json"
    assert configs[0]["responseSchema"]["propertyOrdering"] == ["mood", "stars"]
    assert configs[1] == configs[0] | {"temperature": 0.5}


def test_a_row_that_does_not_fit_is_asked_for_again_with_what_was_wrong_and_all_else_as_it_was() -> (
    None
):
    made = pipeline()

    report = made.drive(
        made.send(["good a", {"prompt": "mends b", "key": "b", "metadata": {"n": 1}}])
    )

    assert (report.state, report.jobs) == ("succeeded", 2)
    assert [result.parsed for result in made.results(RUN)] == [GOOD, GOOD]
    wanted = asked(made, 1)[1]
    (again,) = asked(made, 2)
    heard = again["request"]["contents"][0]["parts"].pop()["text"]
    assert heard.startswith(HEARD + "/mood: the value is not one of")
    assert again == wanted


def test_a_row_is_asked_for_once_more_and_no_oftener() -> None:
    made = pipeline(max_attempts=9)

    report = made.drive(made.send(["bad a"]))

    assert (report.failures, report.jobs) == ({"SCHEMA_INVALID": 1}, 2)
    assert made.results(RUN)[0].attempt == 2


@pytest.mark.parametrize(
    ("retry", "max_attempts"), [(False, 3), (True, 1)], ids=["not allowed", "no attempt left"]
)
def test_a_row_is_not_paid_for_again_when_that_may_not_be(retry: bool, max_attempts: int) -> None:
    made = pipeline(retry, max_attempts)

    assert made.drive(made.send(["mends a"])).jobs == 1


def test_a_row_keeps_what_it_heard_when_it_fails_for_another_reason_in_between() -> None:
    made = pipeline()
    run = made.send(["mends a"])
    drive_first_attempt(made, run)
    made.jobs.script = Script(seed=None, statuses={0: QUOTA})
    for step in ("shard", "submit", "poll", "collect"):
        made.do(Step(step, run, (0, 2)))
    made.jobs.script = made.script

    report = made.drive(run)

    assert (report.state, report.jobs) == ("succeeded", 3)
    assert asked(made, 3) == asked(made, 2)


def drive_first_attempt(made: FakePipeline, run: str) -> None:
    made.do(Step("plan", run))
    for step in ("shard", "submit", "poll", "collect"):
        made.do(Step(step, run, (0, 1)))
    made.do(Step("parse", run, (0, 1, 0)))
    made.do(Step("settle", run, (0, 1)))


def test_a_row_may_get_more_tokens_and_then_hear_what_was_wrong() -> None:
    made = pipeline(retry_max_tokens=64)

    made.drive(made.send(["cut a"]))

    again = [one["request"] for one in (*asked(made, 2), *asked(made, 3))]
    assert [request["generationConfig"]["maxOutputTokens"] for request in again] == [64, 64]
    assert [len(request["contents"][0]["parts"]) for request in again] == [1, 2]


@pytest.mark.parametrize("part_bytes", [300, 1 << 20])
def test_answers_without_keys_are_joined_by_what_was_asked_in_either_attempt(
    part_bytes: int,
) -> None:
    made = pipeline(unkeyed=frozenset(range(4)), part_bytes=part_bytes)

    report = made.drive(made.send(["good a", "mends b", "bad c", "mends d"]))

    assert (report.succeeded, report.failures, report.jobs, report.unknown) == (
        3,
        {"SCHEMA_INVALID": 1},
        2,
        0,
    )


def test_the_input_of_an_attempt_has_the_same_bytes_whatever_a_later_validator_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = pipeline()
    run = made.send(["mends a"])
    drive_first_attempt(made, run)
    made.do(Step("shard", run, (0, 2)))
    folder = made.folder().attempt(0, 2)
    first = made.bucket.read(folder.input_file)
    monkeypatch.setattr(
        "promptmill.workers.output.schema_validation._describe_errors",
        lambda errors: "said otherwise",
    )
    for gone in (
        folder.input.name,
        folder.previous.parsed(0).name,
        folder.previous.settled.name,
    ):
        made.bucket.delete(gone)

    made.do(Step("parse", run, (0, 1, 0)))
    made.do(Step("settle", run, (0, 1)))
    made.do(Step("shard", run, (0, 2)))

    assert b"said otherwise" in made.bucket.read(made.folder().attempt(0, 1).results(0))
    assert made.bucket.read(folder.input_file) == first


def test_what_is_told_is_of_the_output_that_counts_when_it_was_replaced() -> None:
    made = pipeline()
    run = made.send(["mends a"])
    made.do(Step("plan", run))
    for step in ("shard", "submit", "poll"):
        made.do(Step(step, run, (0, 1)))
    (output,) = [
        one.name
        for one in made.bucket.list(made.folder().attempt(0, 1).path)
        if one.name.endswith("predictions.jsonl")
    ]
    whole = made.bucket.read(output)
    made.bucket.write(output, b"unreadable\n")
    for part in (0, 1):
        made.do(Step("collect", run, (0, 1)))
        made.do(Step("parse", run, (0, 1, part)))
        made.bucket.write(output, whole)
    made.do(Step("settle", run, (0, 1)))
    made.do(Step("shard", run, (0, 2)))

    assert HEARD + "/mood: " in asked(made, 2)[0]["request"]["contents"][0]["parts"][-1]["text"]


def test_nothing_is_asked_again_in_a_run_that_was_cancelled() -> None:
    made = pipeline()
    run = made.send(["mends a"])
    made.do(Step("plan", run))
    for step in ("shard", "submit", "poll"):
        made.do(Step(step, run, (0, 1)))
    made.folder(run).cancelled.create(records.Cancelled(records.current_time()))

    report = made.drive(run)

    assert (report.failures, report.jobs) == ({"SCHEMA_INVALID": 1}, 1)


def judged(text: str, schema: dict[str, Any]) -> Result:
    return Validator(schema).validate_result(Result("k", 1, "succeeded", text=text))


@pytest.mark.parametrize(
    "text", ["", "{", "It is good.", "```json\n{}\n```", "NaN", '"\\ud800"', "[" * 100_000]
)
def test_what_is_no_json_does_not_fit(text: str) -> None:
    result = judged(text, {"type": "object"})

    assert result.error
    assert result.error.message.startswith("the answer is not JSON: ")
    assert result.text == text


def test_a_point_in_time_may_lack_its_zone_as_pydantic_allows_too() -> None:
    schema = {"type": "string", "format": "date-time"}

    assert judged('"2026-01-02T03:04:05"', schema).succeeded
    assert not judged('"tomorrow"', schema).succeeded


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_what_is_told_of_an_answer_is_short_and_has_none_of_its_texts(value: Any) -> None:
    marked = {"stars": [value, "marked-secret"], "mood": "marked-secret"}
    result = judged(json.dumps(marked), Review.model_json_schema())

    assert result.error
    assert len(result.error.message) <= 300
    assert "marked-secret" not in result.error.message


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strange"},
        {"type": "string", "pattern": "("},
        {"$ref": "http://127.0.0.1:1/a"},
        {"$ref": "#/no"},
    ],
)
def test_a_schema_that_is_none_is_found_before_anything_is_paid_for(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="response_schema is not a JSON schema"):
        Validator(schema)


def test_many_errors_are_kept_as_the_few_that_they_are_and_the_first_of_a_row_counts() -> None:
    made = pipeline()

    write_feedback(made.folder().attempt(0, 1), [(3, "a"), (1, "b"), (2, "a"), (1, "a")])
    write_feedback(made.folder().attempt(0, 1), [(1, "another time")])

    kept = made.folder().attempt(0, 1).repairs.get()
    assert (kept.errors, kept.errors_by_row()) == (["a", "b"], {3: "a", 1: "b", 2: "a"})


CONTENTS = st.lists(
    st.fixed_dictionaries(
        {"parts": st.lists(st.fixed_dictionaries({"text": st.text()}), min_size=1)},
        optional={"role": st.sampled_from(["user", "model", "function"])},
    ),
    min_size=1,
)


@given(CONTENTS, st.dictionaries(st.text(), st.integers()), st.text())
def test_only_the_end_of_a_prompt_is_changed(
    contents: list[Any], beside: dict[str, int], error: str
) -> None:
    line = msgspec.json.encode({"key": "r-1-1", "request": beside | {"contents": contents}})

    wire = msgspec.json.decode(append_feedback(line, error))

    made = wire["request"].pop("contents")
    assert wire == {
        "key": "r-1-1",
        "request": {name: value for name, value in beside.items() if name != "contents"},
    }
    assert made[-1].get("role", "user") == "user"
    assert error in made[-1]["parts"].pop()["text"]
    assert [one for one in made if one["parts"]] == contents


def test_results_are_of_the_callers_own_type_and_what_its_validators_refuse_is_a_failure() -> None:
    made = [
        Result("a", 1, "succeeded", parsed=GOOD),
        Result("b", 2, "failed"),
        Result("c", 3, "succeeded", parsed={"mood": "x"}),
    ]

    good, failed, refused = parsed_models.parse_results(made, Review)

    assert good.parsed == Review(mood="good", stars=5)
    assert failed is made[1]
    assert refused.error
    assert (refused.state, refused.error.reason) == ("failed", "SCHEMA_INVALID")
    assert (
        refused.error.message
        == "mood: Input should be 'good', 'bad' or 'mixed'; stars: Field required"
    )


def test_a_run_that_was_opened_before_there_were_schemas_has_no_judge() -> None:
    old = msgspec.json.decode(b'{"run":"r","model":"m","created":1.0}', type=Manifest)

    assert (old.response_schema, old.retry_schema_invalid) == (None, False)


@pytest.mark.parametrize("prompts", [["good a"], ["good a", "bad b"]])
def test_a_run_without_a_schema_takes_any_answer(prompts: list[Prompt]) -> None:
    made = pipeline(retry=False, schema=None)

    assert made.drive(made.send(prompts)).state == "succeeded"
    assert made.results(RUN)[0].parsed is None
