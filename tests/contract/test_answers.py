"""Jobs as Vertex may tell them and no emulator does: the real client, before a server that says what the test wants."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from promptmill.workers.adapters.vertex import VertexJobs

NAME = "projects/123456789012/locations/global/batchPredictionJobs/1"
ERROR = {
    "code": 13,
    "message": "System error. Please try this operation again.",
    "details": [{"@type": "type.googleapis.com/google.internal.Unheard", "trace": [{"details": []}]}],
}
FAILED: dict[str, Any] = {
    "name": NAME,
    "state": "JOB_STATE_FAILED",
    "labels": {"details": "kept"},
    "error": ERROR,
    "partialFailures": [ERROR],
}


class Saying(ThreadingHTTPServer):
    """Answers every call with `says`."""

    says: object = None


class _Handler(BaseHTTPRequestHandler):
    server: Saying

    def do_GET(self) -> None:
        body = json.dumps(self.server.says).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def vertex() -> Iterator[Saying]:
    with Saying(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def jobs(vertex: Saying, real_jobs: Callable[..., VertexJobs]) -> VertexJobs:
    return real_jobs(f"http://127.0.0.1:{vertex.server_port}")


def test_a_job_is_read_whatever_its_error_has_for_details(vertex: Saying, jobs: VertexJobs) -> None:
    vertex.says = FAILED
    job = jobs.get(NAME)

    vertex.says = {"batchPredictionJobs": [FAILED]}
    assert list(jobs.list("")) == [job]
    assert (job.name, job.ended, job.error_code, job.error_message) == (NAME, True, 13, ERROR["message"])
    assert job.labels == {"details": "kept"}
