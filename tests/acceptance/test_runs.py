"""Runs from the producer to the sinks, with nothing going wrong."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from promptmill.config.errors import IdempotencyConflict
from promptmill.producers import Promptmill, Result
from promptmill.producers.contract import sink_specs
from promptmill.workers.adapters.storage import open_bucket
from support.local_stack import LocalStack, done, keys, once, read_results

BUCKET = "gs://promptmill-local"


def test_5500_requests_reach_every_sink_with_each_key_exactly_once(
    mill: Promptmill, answers: Path
) -> None:
    run = mill.submit(
        (
            {"key": f"sentence-{number}", "prompt": f"Translate to Spanish: {number}"}
            for number in range(5500)
        ),
        sinks=[sink_specs.jsonl(answers), sink_specs.jsonl(f"{BUCKET}/answers/")],
    )
    status = done(run)

    report = run.report()
    assert (status.state, report.state) == ("succeeded", "succeeded")
    assert (report.requests, report.succeeded, report.failed, report.unaccounted) == (
        5500,
        5500,
        0,
        0,
    )
    assert report.jobs == status.jobs == 3
    expected = once([f"sentence-{number}" for number in range(5500)])
    assert keys(read_results(answers)) == expected
    assert keys(in_bucket(f"{BUCKET}/answers/{run.id}")) == expected
    assert keys(list(run.results())) == expected


def test_identical_requests_are_paid_for_once_and_every_key_has_the_answer(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    prompts = [{"key": f"k{number}", "prompt": f"Say {number % 3}"} for number in range(300)]
    run = mill.submit(prompts, sinks=[sink_specs.jsonl(answers)])
    each = mill.submit(prompts[:30], repeat_identical=True)

    status, report = done(run), run.report()
    assert (report.succeeded, report.deduplicated, report.unaccounted, status.deduplicated) == (
        300,
        297,
        0,
        297,
    )
    assert [job["requests"] for job in stack.jobs(run.id)] == [3]
    found = read_results(answers)
    assert keys(found) == once([f"k{number}" for number in range(300)])
    assert len({(int(result.key[1:]) % 3, result.text) for result in found}) == 3
    assert (
        sum(result.usage.get("totalTokenCount", 0) for result in found)
        == report.tokens["totalTokenCount"]
    )
    done(each)
    assert [job["requests"] for job in stack.jobs(each.id)] == [30]


def test_a_table_that_has_grown_is_sent_whole_and_only_what_is_new_is_paid_for(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    rows = [
        {"review_id": str(number), "shop": number % 3, "text": f"grown {number}"}
        for number in range(250)
    ]
    rendered: dict[str, Any] = {
        "template": "Classify: {{ text }}",
        "key": "review_id",
        "metadata": ["shop"],
    }
    before = mill.submit_rows(rows[:200], **rendered)
    done(before)
    run = mill.submit_rows(rows, reuse_answers=True, sinks=[sink_specs.jsonl(answers)], **rendered)

    status, report = done(run), run.report()
    assert (report.succeeded, report.reused, report.unaccounted, status.reused) == (
        250,
        200,
        0,
        200,
    )
    assert [job["requests"] for job in stack.jobs(run.id)] == [50]
    found = read_results(answers)
    assert keys(found) == once([str(number) for number in range(250)])
    assert {result.attempt for result in found if int(result.key) < 200} == {0}
    assert all(result.metadata == {"shop": int(result.key) % 3} for result in found)
    texts = {result.key: result.text for result in before.results()}
    assert {result.key: result.text for result in found if result.attempt == 0} == texts
    cost, whole = report.cost, before.report().cost
    assert cost and whole and cost.usd and whole.usd and cost.usd < whole.usd


def test_the_report_tells_the_time_of_vertex_from_that_of_promptmill(mill: Promptmill) -> None:
    run = mill.submit(["hello"])
    done(run)

    report = run.report()
    stages = sum(seconds for stage, seconds in report.seconds.items() if stage != "total")
    assert report.vertex_seconds >= 1.0
    assert report.seconds["total"] == pytest.approx(
        report.vertex_seconds + report.overhead_seconds, abs=0.01
    )
    assert report.seconds["total"] == pytest.approx(stages, abs=0.05)


def test_the_same_run_sent_twice_with_one_idempotency_key_is_one_run_with_one_set_of_jobs(
    stack: LocalStack, mill: Promptmill
) -> None:
    prompts = [f"prompt {number}" for number in range(4500)]
    first = mill.submit(prompts, idempotency_key="the same twice")
    at_once = mill.submit(prompts, idempotency_key="the same twice")
    done(first)
    later = mill.submit(prompts, idempotency_key="the same twice")
    done(later)

    assert first.id == at_once.id == later.id
    assert len(stack.jobs(first.id)) == 3
    assert keys(list(later.results())) == once(range(1, 4501))


@pytest.mark.parametrize("other", [["one", "another"], ["one"], ["one", "two", "three"]])
def test_other_content_under_the_same_idempotency_key_is_refused(
    stack: LocalStack, mill: Promptmill, other: list[str]
) -> None:
    run = mill.submit(["one", "two"], idempotency_key="not the same")
    done(run)

    with pytest.raises(IdempotencyConflict):
        mill.submit(other, idempotency_key="not the same")
    assert len(stack.jobs(run.id)) == 1


def test_keys_and_metadata_come_back_with_the_answers(mill: Promptmill) -> None:
    metadata = {"shop": 7, "tags": ["a", "b"], "deep": {"price": 1.5, "none": None}}
    rows: list[dict[str, Any]] = [
        {"key": "000123", "metadata": metadata, "prompt": "Say hello"},
        {"key": "größe/☃ 1", "metadata": {"shop": "eight"}, "prompt": "Say goodbye"},
        {"prompt": "Say nothing"},
    ]
    run = mill.submit(rows)
    done(run)

    found = {result.key: result for result in run.results()}
    assert {key: result.metadata for key, result in found.items()} == {
        "000123": metadata,
        "größe/☃ 1": {"shop": "eight"},
        "3": None,
    }
    assert [found[key].row for key in ("000123", "größe/☃ 1", "3")] == [1, 2, 3]
    assert all(result.succeeded and result.text and result.usage for result in found.values())


def test_a_multimodal_request_reaches_vertex_as_it_was_given(mill: Promptmill) -> None:
    photo = {"fileData": {"fileUri": f"{BUCKET}/photos/1.jpg", "mimeType": "image/jpeg"}}
    request = {
        "contents": [{"role": "user", "parts": [{"text": "What is in the picture?"}, photo]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"maxOutputTokens": 2048},
    }
    run = mill.submit([{"key": "photo", "request": request}])
    done(run)

    [result] = run.results()
    assert result.succeeded
    assert result.usage["promptTokenCount"] > 250  # a picture, not only a few words
    assert input_of(run.id)["request"] == request


def test_a_response_schema_gives_an_answer_that_obeys_it(mill: Promptmill) -> None:
    schema = {"type": "OBJECT", "properties": {"mood": {"type": "STRING", "enum": ["good", "bad"]}}}
    config = {
        "responseMimeType": "application/json",
        "responseSchema": schema | {"required": ["mood"]},
    }
    contents = [{"role": "user", "parts": [{"text": "How was it?"}]}]
    run = mill.submit([{"request": {"contents": contents, "generationConfig": config}}])
    done(run)

    [result] = run.results()
    assert json.loads(result.text)["mood"] in {"good", "bad"}


def test_a_file_goes_through_the_command_line(
    stack: LocalStack, tmp_path: Path, answers: Path
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        '{"key": "a", "prompt": "one"}\n{"key": "b", "contents": [{"parts": [{"text": "two"}]}]}\n"three"\n'
    )

    sent = stack.cli("submit", str(file), "--wait", "--sink", str(answers), "--name", "from a file")

    assert sent.returncode == 0, sent.stderr
    run = sent.stdout.strip()
    assert keys(read_results(answers)) == once(["a", "b", "3"])
    told = stack.cli("results", run, "--format", "jsonl")
    assert keys(
        [msgspec.json.decode(line, type=Result) for line in told.stdout.splitlines()]
    ) == once(["a", "b", "3"])
    assert json.loads(stack.read_cli("describe", run, "--format", "json"))["state"] == "succeeded"


def in_bucket(url: str) -> list[Result]:
    """All results below a folder of a bucket."""
    bucket = open_bucket(url)
    lines = [line for stored in bucket.list("") for line in bucket.read(stored.name).splitlines()]
    return [msgspec.json.decode(line, type=Result) for line in lines]


def input_of(run: str) -> dict[str, Any]:
    """The first line that Vertex read of a run."""
    lines = open_bucket(f"{BUCKET}/mill").read(f"runs/{run}/shards/0000/1/input.jsonl")
    first: dict[str, Any] = msgspec.json.decode(lines.split(b"\n")[0])
    return first
