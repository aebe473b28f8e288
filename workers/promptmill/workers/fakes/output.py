"""The output of a fake job, in Vertex's layout, with scripted faults."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

JsonObject = dict[str, Any]
"""A request or response as tests write it."""
Responder = Callable[[JsonObject], str | JsonObject]
"""Answers a GenerateContentRequest with a text or a GenerateContentResponse."""


_PROCESSED_TIME = "2026-01-01T00:00:00.000000+00:00"


@dataclass(frozen=True)
class Script:
    """How a job ends, and the faults of its output. Rows are indices of the input, from 0.

    ``missing`` rows are left out, ``duplicated`` rows occur twice, and ``unkeyed`` rows
    have only their request. ``statuses`` has the status text of failed rows. ``strange``
    lines are added unchanged. ``seed`` shuffles the lines; None keeps their order.
    ``truncated`` cuts the last line in its middle. A failed job writes no output unless it
    is ``exported``. ``incremental`` output is that of a job that has not exported its final
    files. Without ``located``, the job does not name the directory of its output.
    """

    state: str = "JOB_STATE_SUCCEEDED"
    error_code: int = 0
    error_message: str = ""
    missing: frozenset[int] = frozenset()
    duplicated: frozenset[int] = frozenset()
    unkeyed: frozenset[int] = frozenset()
    statuses: Mapping[int, str] = field(default_factory=dict)
    strange: tuple[bytes, ...] = ()
    files: int = 1
    seed: int | None = 0
    truncated: bool = False
    exported: bool = False
    incremental: bool = False
    located: bool = True


def output_files(
    rows: list[JsonObject], answer: Responder, script: Script
) -> list[tuple[str, bytes]]:
    """Return the names and bytes of the files that a job writes for its input."""
    lines = [line + b"\n" for line in (*_output_lines(rows, answer, script), *script.strange)]
    if script.seed is not None:
        random.Random(script.seed).shuffle(lines)  # noqa: S311 - a repeatable choice, no secret
    data = [b"".join(lines[start :: script.files]) for start in range(script.files)]
    if script.truncated and data[-1]:
        last_line = data[-1].rfind(b"\n", 0, -1) + 1
        data[-1] = data[-1][: (last_line + len(data[-1])) // 2]
    folder = "incremental_predictions/" if script.incremental else ""
    if script.files == 1:
        return [(f"{folder}predictions.jsonl", data[0])]
    return [
        (f"{folder}predictions_{number:04d}.jsonl", content)
        for number, content in enumerate(data, 1)
    ]


def _output_lines(rows: list[JsonObject], answer: Responder, script: Script) -> Iterator[bytes]:
    for row_index, row in enumerate(rows):
        if row_index in script.missing:
            continue
        line = _make_line(row, answer, script.statuses.get(row_index, ""))
        extra_fields = {} if row_index in script.unkeyed else row
        encoded = msgspec.json.encode(line | extra_fields)
        yield from [encoded] * (2 if row_index in script.duplicated else 1)


def _make_line(row: JsonObject, answer: Responder, status: str) -> JsonObject:
    request = row["request"]
    if "content" in request and not status:
        return {"request": request, "response": embed_content(request)}
    return {
        "status": status,
        "processed_time": _PROCESSED_TIME,
        "request": request,
        "response": {} if status else make_response(answer(request)),
    }


def embed_content(request: JsonObject) -> JsonObject:
    """Return an EmbedContentResponse: the lengths of the words, repeated or cut."""
    config, text = request.get("embed_content_config", {}), request["content"]["parts"][0]["text"]
    lengths = [len(word) / 16 for word in text.split()]
    length = config.get("output_dimensionality", 4)
    values = [lengths[index % len(lengths)] for index in range(length)]
    return {"tokenCount": str(len(lengths)), "embedding": {"values": values}}


def make_response(answer: str | JsonObject) -> JsonObject:
    """Return a GenerateContentResponse with a text. Four characters are one token."""
    if not isinstance(answer, str):
        return answer
    tokens = len(answer) // 4 + 1
    content = {"role": "model", "parts": [{"text": answer}]}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": tokens, "totalTokenCount": 1 + tokens}
    return {
        "candidates": [{"content": content, "finishReason": "STOP"}],
        "modelVersion": "fake",
        "usageMetadata": usage,
    }


def echo_prompt(request: JsonObject) -> str:
    """Return an answer that repeats the last part of the request."""
    return f"You said: {request['contents'][-1]['parts'][-1].get('text', '')}"
