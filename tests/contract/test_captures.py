"""What Vertex AI really answered is read as its capture says."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from promptmill.config.errors import Permanent
from promptmill.producers.contract.failure_reasons import TRANSIENT
from promptmill.producers.contract.results import Result
from promptmill.workers.adapters.vertex import VertexJobs
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.output import failure_reasons
from promptmill.workers.ports.google import Job, JobRequest
from promptmill.workers.steps.parse import PartReader
from support.captures import FOLDER, CapturedLine, read_captures
from support.http_server import HttpAnswer, serve_http

CAPTURES = read_captures()
JOBS: dict[str, Any] = json.loads((FOLDER / "jobs.json").read_text())
RESOURCES = {name: entry["resource"] for name, entry in JOBS.items() if "resource" in entry}
ERRORS: dict[str, Any] = json.loads((FOLDER / "errors.json").read_text())
GOOGLES_OWN_FAULTS = ("_vertex_row_id", "llm_bp_tenant_dataset")
"""Marks of faults in Google's own tables, which the importer reports as code 3."""
STATES = [state for _, state in JOBS["states_bigquery"]["states"]]


@pytest.mark.parametrize("captured", CAPTURES, ids=[captured.id for captured in CAPTURES])
def test_a_captured_line_becomes_the_result_that_its_capture_expects(
    captured: CapturedLine,
) -> None:
    reader = PartReader("rtag", 1, 1, RowSet.first(1), keep=["response"])

    (line,) = reader.read_results(iter([(0, captured.with_key('"rtag-1-k"').encode())]))

    assert captured.list_problems(msgspec.json.decode(line, type=Result)) == []


@pytest.mark.parametrize("error", ERRORS["job"], ids=lambda error: error["message"][:60])
def test_a_captured_error_of_a_job_is_retried_if_it_is_googles_fault(
    error: dict[str, Any],
) -> None:
    state = "JOB_STATE_CANCELLED" if error["code"] == 1 else "JOB_STATE_FAILED"
    job = Job("job", state, error_code=error["code"], error_message=error["message"])

    reason = failure_reasons.error_for_missing(job).reason

    is_own_fault = any(mark in error["message"] for mark in GOOGLES_OWN_FAULTS)
    assert (reason in TRANSIENT) == (error["code"] == 13 or is_own_fault)


@pytest.mark.parametrize("error", ERRORS["create"], ids=lambda error: error["message"][:60])
def test_a_captured_refusal_of_a_creation_is_permanent_and_keeps_its_message(
    error: dict[str, Any], real_jobs: Callable[..., VertexJobs]
) -> None:
    body = {"code": error["http"], "status": error["status"], "message": error["message"]}
    answer = HttpAnswer(
        json.dumps({"error": body}).encode(),
        error["http"],
        (("Content-Type", "application/json"),),
    )
    request = JobRequest("d", "publishers/google/models/m", "gs://b/in", "gs://b/out", {})

    with (
        serve_http(lambda _: answer) as server,
        pytest.raises(Permanent, match=re.escape(error["message"][:60])),
    ):
        real_jobs(server.url).create(request)


@pytest.fixture
def read_job(real_jobs: Callable[..., VertexJobs]) -> Iterator[Callable[[dict[str, Any]], Job]]:
    answers: list[dict[str, Any]] = []

    def answer(_: object) -> HttpAnswer:
        body = json.dumps(answers[-1]).encode()
        return HttpAnswer(body, 200, (("Content-Type", "application/json"),))

    with serve_http(answer) as server:
        jobs = real_jobs(server.url)

        def read(resource: dict[str, Any]) -> Job:
            answers.append(resource)
            return jobs.get(resource["name"])

        yield read


@pytest.mark.parametrize("name", RESOURCES)
def test_a_captured_job_is_read(name: str, read_job: Callable[[dict[str, Any]], Job]) -> None:
    resource = RESOURCES[name]

    job = read_job(resource)

    assert (job.name, job.state) == (resource["name"], resource["state"])
    assert job.display_name == resource["displayName"]
    assert job.has_ended == (resource["state"] in {"JOB_STATE_FAILED", "JOB_STATE_CANCELLED"})
    error = resource.get("error", {})
    assert (job.error_code, job.error_message) == (error.get("code", 0), error.get("message", ""))
    assert job.output_directory == resource.get("outputInfo", {}).get("gcsOutputDirectory", "")
    stats = resource.get("completionStats")
    expected = -1 if stats is None else int(stats.get("successfulCount", 0))
    assert job.successful_count == expected


@pytest.mark.parametrize("state", STATES)
def test_only_the_last_captured_state_is_an_end(
    state: str, read_job: Callable[[dict[str, Any]], Job]
) -> None:
    job = read_job(RESOURCES["create_bigquery"] | {"state": state})

    assert job.has_ended == (state == STATES[-1])
