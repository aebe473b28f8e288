"""How a service shows that others can lean on it."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from promptmill.local.readiness import Answers, HasBucket, Logged, Pongs

BUCKETS: set[str] = set()


class Storage(BaseHTTPRequestHandler):
    """Knows buckets, and a path that answers 503."""

    def do_GET(self) -> None:
        self._answer(200 if self.path.rpartition("/")[2] in BUCKETS else 503 if self.path == "/busy" else 404)

    def do_POST(self) -> None:
        assert self.path == "/storage/v1/b?project=shop"
        assert self.rfile.read(int(self.headers["Content-Length"])) == b'{"name":"mill"}'
        BUCKETS.add("mill")
        self._answer(200)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        pass

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def port() -> Iterator[int]:
    BUCKETS.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Storage) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("line", ["[INFO] celery@host ready.", '{"event": "worker@host ready.", "level": "info"}'])
def test_a_worker_is_ready_when_its_log_says_so_as_text_or_as_json(line: str) -> None:
    ready = Logged(r"@\S+ ready\.")

    assert ready(f"connecting\n{line}\n")
    assert not ready("connecting\nnot ready yet\n")


def test_a_server_is_ready_when_it_answers_200(port: int) -> None:
    BUCKETS.add("healthz")

    assert Answers(port, "/healthz")("")
    assert not Answers(port, "/busy")("")


def test_storage_is_ready_once_it_has_the_bucket_which_is_created(port: int) -> None:
    ready = HasBucket(port, "mill", "shop")

    assert not ready("")
    assert {"mill"} == BUCKETS
    assert ready("")


@pytest.mark.parametrize(("answer", "is_ready"), [(b"+PONG\r\n", True), (b"-LOADING data\r\n", False), (b"", False)])
def test_redis_is_ready_when_it_pongs_and_not_while_it_loads(answer: bytes, is_ready: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once() -> None:
            with server.accept()[0] as connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()

        assert Pongs(server.getsockname()[1])("") is is_ready
        thread.join()


def test_nobody_is_ready_where_nobody_listens(nobody: int) -> None:
    assert not Answers(nobody, "/healthz")("")
    assert not Pongs(nobody)("")
    assert not HasBucket(nobody, "mill", "shop")("")
