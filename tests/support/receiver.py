"""A web server that takes webhooks."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from promptmill.local.ports import HOST


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets, and answers as it is told."""

    daemon_threads = True
    status = 204
    retry_after = ""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = f"http://{HOST}:{self.server_port}/answers"


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(
            ({name.lower(): value for name, value in self.headers.items()}, body)
        )
        self.send_response(self.server.status)
        self.send_header("location", "http://169.254.169.254/")
        if self.server.retry_after:
            self.send_header("retry-after", self.server.retry_after)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - so it is called
        """Say nothing."""


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    with Receiver() as receiver:
        if context:
            receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
