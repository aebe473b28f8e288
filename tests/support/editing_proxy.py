"""A proxy that changes calls and answers on their way, as a Google that behaves differently."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from support.proxy import Answer, HttpProxy

Json = dict[str, Any]


def _keep_call(method: str, path: str) -> tuple[str, str]:
    return method, path


def _keep_answer(_method: str, _path: str, answer: Answer) -> Answer:
    return answer


@dataclass(frozen=True)
class Edits:
    """How to change a call before it is forwarded, and its answer. The answer sees the old path."""

    call: Callable[[str, str], tuple[str, str]] = _keep_call
    answer: Callable[[str, str, Answer], Answer] = _keep_answer


class EditingProxy(HttpProxy):
    """A proxy before one HTTP server that applies ``edits`` to every call."""

    def __init__(self, upstream: str, edits: Edits) -> None:
        super().__init__(upstream)
        self._edits = edits

    def _forward(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        answer = super()._forward(*self._edits.call(method, path), headers, body)
        return self._edits.answer(method, path, answer)


def edit_json(answer: Answer, change: Callable[[Json], object]) -> Answer:
    """Return an answer whose JSON ``change`` changed in place; errors are left alone."""
    if answer.status != 200:
        return answer
    body = json.loads(answer.body)
    change(body)
    return replace(answer, body=json.dumps(body).encode())


def edit_lines(answer: Answer, change: Callable[[Json], list[Json]]) -> Answer:
    """Return an answer of JSON lines, each replaced by those that ``change`` returns."""
    lines = [new for line in answer.body.splitlines() for new in change(json.loads(line))]
    headers = [(name, value) for name, value in answer.headers if name.lower() != "x-goog-hash"]
    return Answer(
        answer.status, headers, b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    )
