"""What `promptmill doctor --live` captured is read by the parser and by Google's client."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from promptmill.producers import Result
from promptmill.workers.adapters.vertex import VertexJobs
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.live import answers, capture, rows
from promptmill.workers.live.evidence import Evidence
from promptmill.workers.ports.google import TERMINAL_STATES
from promptmill.workers.steps.parse import PartReader
from support.captures import FOLDER
from support.http_server import HttpAnswer, serve_http

FILES = sorted((FOLDER / "live").glob("*.json"))
EACH_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read_evidence(file: Path) -> Evidence:
    return capture.decode_capture(file.read_bytes()).evidence


@EACH_FILE
def test_each_captured_line_becomes_the_result_of_its_row(file: Path) -> None:
    evidence = read_evidence(file)
    sent = answers.list_sent_rows(evidence)
    lines = [line.encode() for output in evidence.files or [] for line in output.lines]
    reader = PartReader(rows.TAG, 1, 1, RowSet.first(len(sent)))

    results = [
        msgspec.json.decode(line, type=Result) for line in reader.read_results(numbered(lines))
    ]

    assert sorted(result.key for result in results) == sorted(sent)
    refused = answers.find_answers(evidence).refused
    assert {result.key for result in results if result.error and not result.usage} == set(refused)
    assert {json.dumps(result.metadata) for result in results} == {'{"shelf": "7"}'}


def numbered(lines: list[bytes]) -> Any:
    return iter(enumerate(lines))


@EACH_FILE
def test_each_captured_job_is_read(file: Path, real_jobs: Callable[..., VertexJobs]) -> None:
    evidence = read_evidence(file)
    for resource in (*evidence.main.resources, *evidence.second.resources):
        with serve_http(partial(answer_with, resource)) as server:
            job = real_jobs(server.url).get(resource["name"])

        assert (job.state, job.labels) == (resource["state"], resource["labels"])
        assert job.has_ended == (resource["state"] in TERMINAL_STATES)
        assert 0 < job.create_time <= (job.end_time or job.create_time)
        folder = resource.get("outputInfo", {}).get("gcsOutputDirectory", "")
        assert job.output_directory == folder


def answer_with(resource: dict[str, Any], _: object) -> HttpAnswer:
    return HttpAnswer(json.dumps(resource).encode(), 200, (("Content-Type", "application/json"),))
