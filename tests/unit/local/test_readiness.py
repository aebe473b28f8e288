"""A service shows that it is ready."""

import socket
import threading
from collections.abc import Iterator

import pytest

from promptmill.local.readiness import HttpResponds, LogMatches, RedisResponds
from support.http_server import HttpAnswer, serve_http


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server that is healthy at one path and busy at all others."""
    with serve_http(
        lambda call: HttpAnswer(status=200 if call.path == "/healthz" else 503)
    ) as server:
        yield server.server_port


@pytest.fixture
def nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    "line", ["[INFO] celery@host ready.", '{"event": "worker@host ready.", "level": "info"}']
)
def test_a_worker_is_ready_when_its_log_says_so_as_text_or_as_json(line: str) -> None:
    ready = LogMatches(r"@\S+ ready\.")

    assert ready(f"connecting\n{line}\n")
    assert not ready("connecting\nnot ready yet\n")


def test_a_server_is_ready_when_it_answers_200(port: int) -> None:
    assert HttpResponds(port, "/healthz")("")
    assert not HttpResponds(port, "/busy")("")


@pytest.mark.parametrize(
    ("answer", "is_ready"), [(b"+PONG\r\n", True), (b"-LOADING data\r\n", False), (b"", False)]
)
def test_redis_is_ready_when_it_pongs_and_not_while_it_loads(answer: bytes, is_ready: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once() -> None:
            with server.accept()[0] as connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()

        assert RedisResponds(server.getsockname()[1])("") is is_ready
        thread.join()


def test_nobody_is_ready_where_nobody_listens(nobody: int) -> None:
    assert not HttpResponds(nobody, "/healthz")("")
    assert not RedisResponds(nobody)("")
