"""Lines that Vertex AI really wrote, through a whole run: from the emulator to the results."""

from collections.abc import Callable
from typing import Any

import pytest

from promptmill.producers import Promptmill
from support.captures import CapturedLine, read_captures
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
    problems = [captured.list_problems(results[captured.id]) for captured in captures]
    assert " | ".join(problem for found in problems for problem in found) == ""
