"""The real clients handle answers that Google may give and that no emulator gives."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import pytest

from promptmill.config.errors import Transient
from promptmill.workers.adapters.storage import StorageBucket
from promptmill.workers.adapters.vertex import VertexJobs
from promptmill.workers.ports.google import JobRequest
from support.http_server import HttpAnswer, HttpCall, serve_http

MIB = 1 << 20
NAME = "projects/123456789012/locations/global/batchPredictionJobs/1"
ERROR = {
    "code": 13,
    "message": "System error. Please try this operation again.",
    "details": [
        {"@type": "type.googleapis.com/google.internal.Unheard", "trace": [{"details": []}]}
    ],
}
FAILED: dict[str, Any] = {
    "name": NAME,
    "state": "JOB_STATE_FAILED",
    "labels": {"details": "kept"},
    "error": ERROR,
    "partialFailures": [ERROR],
}


class Answer(NamedTuple):
    """The answer to a call; ``body`` is sent as JSON."""

    body: object = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Google:
    """A server that gives the same answer to every call of an HTTP method."""

    url: str = ""
    says: dict[str, Answer] = field(default_factory=dict)

    def answer_call(self, call: HttpCall) -> HttpAnswer:
        """Return the answer that is set for the method."""
        answer = self.says[call.method]
        headers = (*answer.headers, ("Content-Type", "application/json"))
        return HttpAnswer(json.dumps(answer.body).encode(), answer.status, headers)


@pytest.fixture
def google() -> Iterator[Google]:
    google = Google()
    with serve_http(google.answer_call) as server:
        google.url = server.url
        yield google


@pytest.fixture
def jobs(google: Google, real_jobs: Callable[..., VertexJobs]) -> VertexJobs:
    return real_jobs(google.url)


@pytest.fixture
def bucket(google: Google, real_bucket: Callable[[str], StorageBucket]) -> StorageBucket:
    return real_bucket(google.url)


def test_a_job_is_read_whatever_its_error_has_for_details(google: Google, jobs: VertexJobs) -> None:
    google.says["GET"] = Answer(FAILED)
    job = jobs.get(NAME)

    google.says["GET"] = Answer({"batchPredictionJobs": [FAILED]})
    (listed,) = jobs.list("")
    assert msgspec.structs.replace(listed, name=NAME) == job
    assert (job.has_ended, job.error_code, job.error_message) == (True, 13, ERROR["message"])
    assert job.labels == {"details": "kept"}


def test_a_job_has_one_name_whatever_vertex_calls_its_project(
    google: Google, jobs: VertexJobs
) -> None:
    told = {"name": NAME, "state": "JOB_STATE_RUNNING"}
    google.says = {
        "POST": Answer(told | {"name": NAME.replace("123456789012", "p")}),
        "GET": Answer(told),
    }
    name = jobs.create(
        JobRequest("d", "publishers/google/models/m", "gs://b/in", "gs://b/out", {})
    ).name

    assert jobs.get(name).name == name
    google.says["GET"] = Answer({"batchPredictionJobs": [told]})
    assert [job.name for job in jobs.list("")] == [name]


@pytest.mark.parametrize("kept", [MIB, 4 * MIB])
def test_an_upload_of_which_storage_keeps_less_than_it_was_sent_is_not_taken_for_done(
    google: Google, bucket: StorageBucket, kept: int
) -> None:
    google.says["POST"] = Answer(headers=(("Location", f"{google.url}/upload"),))
    google.says["PUT"] = Answer(status=308, headers=(("Range", f"bytes=0-{kept - 1}"),))
    google.says["GET"] = google.says["DELETE"] = Answer(status=404)

    with pytest.raises(Transient, match="did not persist the whole upload"):
        bucket.write_stream("input.jsonl", [b"x" * 5 * MIB, b"y"])
