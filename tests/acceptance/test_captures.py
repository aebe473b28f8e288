"""Lines that Vertex AI really wrote, through a whole run: from the emulator to the results."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from promptmill.producers import Promptmill
from support.captures import CapturedLine, read_captures, read_inputs
from support.local_stack import LocalStack, done

CAPTURES = read_captures()
WITH_REQUEST = [
    captured
    for captured in CAPTURES
    if "key" not in captured.line and captured.id != "logprobs"  # parts are sent as a list
]


def send_prompt(captured: CapturedLine) -> dict[str, Any]:
    return {"key": captured.id, "prompt": f"the request of {captured.id}"}


def send_request(captured: CapturedLine) -> dict[str, Any]:
    request = captured.line["request"]
    sent = request | {"contents": remove_nulls(request["contents"])}
    return {"key": captured.id, "request": sent}


def remove_nulls(value: Any) -> Any:
    """Return contents as they were sent: Google's echo has nulls for fields of other parts."""
    if isinstance(value, dict):
        items = value.items()
        return {name: remove_nulls(item) for name, item in items if item is not None}
    return [remove_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("captures", "make_prompt", "make_line"),
    [
        (CAPTURES, send_prompt, lambda captured: captured.with_key("$KEY")),
        (WITH_REQUEST, send_request, lambda captured: captured.raw),
    ],
    ids=["with the key of the row", "with the request alone"],
)
def test_every_captured_line_ends_as_its_capture_says(
    stack: LocalStack,
    mill: Promptmill,
    captures: list[CapturedLine],
    make_prompt: Callable[[CapturedLine], dict[str, Any]],
    make_line: Callable[[CapturedLine], str],
) -> None:
    stack.fault("output", "raw", lines=[make_line(captured) for captured in captures])

    run = mill.submit(map(make_prompt, captures), keep="response", max_attempts=1)
    done(run)
    results = {result.key: result for result in run.results()}

    assert results.keys() == {captured.id for captured in captures}
    transient = [captured for captured in captures if captured.expected.get("passing")]
    final = [captured for captured in captures if captured not in transient]
    problems = [captured.list_problems(results[captured.id]) for captured in final]
    assert " | ".join(problem for found in problems for problem in found) == ""
    retried = [results[captured.id] for captured in transient]
    assert all(result.succeeded and result.attempt == 2 for result in retried)


ANSWER = (
    '{"candidates":[{"content":{"parts":[{"text":"Hola."}]},"finishReason":"STOP"}],'
    '"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":3,"totalTokenCount":7}}'
)
READABLE = {
    "byte order mark": f'\ufeff{{"key":$KEY,"request":$REQUEST,"status":"","response":{ANSWER}}}',
    "parts as an object": f'{{"key":$KEY,"response":{ANSWER}}}'.replace(
        '[{"text":"Hola."}]', '{"text":"Hola."}'
    ),
    "number out of range": f'{{"key":$KEY,"response":{ANSWER},"score":1e999}}',
}
UNREADABLE = {
    "response as a list": (f'{{"key":$KEY,"response":[{ANSWER}]}}', "response is a list"),
    "answer elsewhere": (f'{{"key":$KEY,"prediction":{ANSWER}}}', "there is prediction"),
    "text as a number": (
        f'{{"key":$KEY,"response":{ANSWER}}}'.replace('"Hola."', "7"),
        "response.candidates[0].content.parts[0].text is a number",
    ),
    "cut": (f'{{"key":$KEY,"response":{ANSWER[:-1]}', "the line is not JSON"),
}


def test_odd_lines_are_read_or_end_unreadable_with_their_place_and_are_retried_once(
    stack: LocalStack, mill: Promptmill
) -> None:
    lines = [*READABLE.values(), *(line for line, _ in UNREADABLE.values())]
    stack.fault("output", "raw", lines=lines, match={"label.attempt": "1"})
    again = lines[-len(UNREADABLE) :]
    stack.fault("output", "raw", lines=again, match={"label.attempt": "2"})

    run = mill.submit(
        ({"key": name, "prompt": f"say {name}"} for name in (*READABLE, *UNREADABLE)),
        max_attempts=5,
    )
    done(run)
    results, report = {result.key: result for result in run.results()}, run.report()

    assert [results[name].text for name in READABLE] == ["Hola."] * len(READABLE)
    for name, (_, place) in UNREADABLE.items():
        error = results[name].error
        assert error and error.reason == "UNREADABLE_RESPONSE"
        assert place in error.message
        assert "predictions.jsonl" in error.message
    assert (report.jobs, report.unaccounted) == (2, 0)
    assert report.tokens["totalTokenCount"] == 7 * (len(READABLE) + 2 * len(UNREADABLE))


GROUNDING = {"webSearchQueries": ["weather"]}
GROUNDED = json.dumps(
    {
        "candidates": [
            {"content": {"parts": [{"text": "Sunny."}]}, "groundingMetadata": GROUNDING}
        ],
        "modelVersion": "gemini-3.6-flash",
    }
)


@pytest.mark.parametrize("kept_at_submit", [True, False])
def test_the_command_line_keeps_a_part_or_names_it_and_reads_it_later(
    stack: LocalStack, mill: Promptmill, kept_at_submit: bool
) -> None:
    stack.fault("output", "raw", lines=[f'{{"key":$KEY,"response":{GROUNDED}}}'])
    options = ["--keep", "grounding"] if kept_at_submit else ["--name", "no parts"]

    waited = stack.cli("submit", "--prompt", "weather?", "--wait", *options)
    run = waited.stdout.strip()
    (result,) = map(json.loads, stack.read_cli("results", run, "--keep", "grounding").splitlines())
    status = json.loads(stack.read_cli("describe", run, "--format", "json"))

    assert result["response"] == {"candidates": [{"groundingMetadata": GROUNDING}]}
    (plain,) = map(json.loads, stack.read_cli("results", run).splitlines())
    assert plain.get("response") == (result["response"] if kept_at_submit else None)
    warnings = " | ".join(status["warnings"])
    assert "1 answer is from gemini-3.6-flash" in warnings
    assert ("(grounding)" in warnings) != kept_at_submit
    assert "warning: 1 answer is from gemini-3.6-flash" in waited.stderr
    assert mill.get(run).report().warnings == status["warnings"]


def test_every_captured_input_line_is_answered_or_refused_before_it_is_sent(
    stack: LocalStack, mill: Promptmill
) -> None:
    lines = {line["id"]: line["line"]["request"] for line in read_inputs() if "model" not in line}
    del lines["embedding"], lines["three-candidates"]  # for other models
    refused: list[str] = []

    run = mill.submit(
        [{"key": name, "request": request} for name, request in lines.items()],
        on_refused=lambda line: refused.append(line.key),
    )
    done(run)

    # The texts of the other lines keep the prompt "42" of numeric-stop, but not its label.
    assert refused == ["url-context", "numeric-keys", "numeric-stop", "boolean-names"]
    assert {result.key for result in run.results() if result.succeeded} == lines.keys() - set(
        refused
    )
