"""An HTTP server for tests. A function answers its calls."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, cast

from promptmill.local.ports import HOST


class HttpCall(NamedTuple):
    """A call that the server received. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HttpAnswer(NamedTuple):
    """The answer to a call. ``Content-Length`` is added."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


AnswerCall = Callable[[HttpCall], HttpAnswer]


class HttpServer(ThreadingHTTPServer):
    """A server on a free port. Each connection has a thread."""

    daemon_threads = False
    request_queue_size = 128  # with the default of 5, many connections at once wait for a second

    def __init__(self, answer_call: AnswerCall) -> None:
        super().__init__((HOST, 0), _Handler)
        self.answer_call = answer_call

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}"


@contextmanager
def serve_http(
    answer_call: AnswerCall, context: ssl.SSLContext | None = None
) -> Iterator[HttpServer]:
    """Run a server until the block ends; with ``context`` it speaks TLS."""
    with HttpServer(answer_call) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        call = HttpCall(self.command, self.path, headers, body)
        answer = cast("HttpServer", self.server).answer_call(call)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log nothing."""
