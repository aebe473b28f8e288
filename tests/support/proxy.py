"""An HTTP proxy that forwards calls to a server and injects faults.

    with HttpProxy(upstream) as proxy:
        proxy.fail("POST", "/upload/.*", status=503, times=2)
        proxy.drop_answer("POST", ".*/batchPredictionJobs")
        ...  # call proxy.url
        assert [call.fault for call in proxy.calls] == ["fail", "fail", None]

Rules can be added at any time. The oldest matching rule that is not used up applies.
"""

import http.client
import re
import socket
import threading
import time
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self, cast
from urllib.parse import urlsplit

from support.waiting import PATIENCE

HOST = "127.0.0.1"
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "host",
    "date",
    "server",
}
Fault = Literal["fail", "refuse", "drop_answer", "replace_answer", "delay", "cut", "corrupt"]


@dataclass(frozen=True)
class Call:
    """A received call. ``status`` is None if the caller got no response."""

    method: str
    path: str
    body: bytes
    fault: Fault | None
    status: int | None


@dataclass
class Rule:
    """A fault for the next ``left`` calls whose method and path match.

    Both are regular expressions. The path includes the query.
    """

    fault: Fault
    method: str
    path: str
    left: float
    status: int = 503
    seconds: float = 0.0
    after: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.left > 0 and bool(
            re.fullmatch(self.method, method) and re.fullmatch(self.path, path)
        )


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Server(ThreadingHTTPServer):
    proxy: "HttpProxy"
    daemon_threads = False
    request_queue_size = 128


class HttpProxy:
    """A proxy before one HTTP server. It replaces the address of the upstream in responses."""

    def __init__(self, upstream: str):
        self.upstream = upstream.rstrip("/")
        self.calls: list[Call] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._server = _Server((HOST, 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_address[1]}"

    def fail(self, method: str, path: str, *, status: int = 503, times: float = 1) -> None:
        """Answer with a status, without a call to the upstream."""
        self._add(Rule("fail", method, path, times, status=status))

    def refuse(self, method: str, path: str, *, times: float = 1) -> None:
        """Break the connection, without a call to the upstream."""
        self._add(Rule("refuse", method, path, times))

    def drop_answer(self, method: str, path: str, *, times: float = 1) -> None:
        """Forward the call, then break the connection."""
        self._add(Rule("drop_answer", method, path, times))

    def replace_answer(
        self, method: str, path: str, *, status: int = 503, times: float = 1
    ) -> None:
        """Forward the call, then answer with another status."""
        self._add(Rule("replace_answer", method, path, times, status=status))

    def delay(self, method: str, path: str, *, seconds: float, times: float = 1) -> None:
        """Delay the call by this many seconds before it is forwarded."""
        self._add(Rule("delay", method, path, times, seconds=seconds))

    def cut(self, method: str, path: str, *, after: int, times: float = 1) -> None:
        """Send only the first bytes of the response body, then break the connection."""
        self._add(Rule("cut", method, path, times, after=after))

    def corrupt(self, method: str, path: str, *, times: float = 1) -> None:
        """Change one byte of the request body; of the response body if the request has none."""
        self._add(Rule("corrupt", method, path, times))

    def clear(self) -> None:
        """Remove all rules, and keep the list of calls."""
        with self._lock:
            self._rules.clear()

    def seen(self, method: str, path: str) -> list[Call]:
        """Return the calls whose method and path match."""
        return [
            call
            for call in self.calls
            if re.fullmatch(method, call.method) and re.fullmatch(path, call.path)
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            _break(connection)
        self._server.server_close()

    def _add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def _take_rule(self, method: str, path: str) -> Rule | None:
        with self._lock:
            for rule in self._rules:
                if rule.matches(method, path):
                    rule.left -= 1
                    return rule
        return None

    def _forward(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        target = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(
            target.hostname or HOST, target.port, timeout=PATIENCE
        )
        try:
            sent = {name: value for name, value in headers if name.lower() not in HOP_BY_HOP}
            length = (
                {"Content-Length": str(len(body))}
                if body or method in {"POST", "PUT", "PATCH"}
                else {}
            )
            connection.request(method, path, body or None, sent | length)
            answer = connection.getresponse()
            return self._through_here(Answer(answer.status, answer.getheaders(), answer.read()))
        finally:
            connection.close()

    def _through_here(self, answer: Answer) -> Answer:
        headers = [(name, value.replace(self.upstream, self.url)) for name, value in answer.headers]
        is_json = any(name.lower() == "content-type" and "json" in value for name, value in headers)
        body = (
            answer.body.replace(self.upstream.encode(), self.url.encode())
            if is_json
            else answer.body
        )
        return Answer(answer.status, headers, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def proxy(self) -> HttpProxy:
        return cast("_Server", self.server).proxy

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def setup(self) -> None:
        super().setup()
        self.proxy._connections.add(self.connection)

    def finish(self) -> None:
        self.proxy._connections.discard(self.connection)
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Log nothing."""

    def _handle(self) -> None:
        body = self._body()
        rule = self.proxy._take_rule(self.command, self.path)
        if rule and rule.fault == "delay":
            time.sleep(rule.seconds)
        answer = self._answer(rule, body)
        fault = rule.fault if rule else None
        # Noted before the answer leaves, so that whoever has the answer also finds the call.
        status = answer.status if answer else None
        self.proxy.calls.append(Call(self.command, self.path, body, fault, status))
        if answer is None:
            self._hang_up()
        else:
            self._send(answer, rule.after if rule and rule.fault == "cut" else None)

    def _answer(self, rule: Rule | None, body: bytes) -> Answer | None:
        fault = rule.fault if rule else None
        if fault == "refuse":
            return None
        if rule and fault == "fail":
            return _error(rule.status)
        try:
            sent = _corrupted(body) if fault == "corrupt" else body
            answer = self.proxy._forward(self.command, self.path, self.headers.items(), sent)
        except (OSError, http.client.HTTPException):
            return None if fault == "drop_answer" else _error(http.HTTPStatus.BAD_GATEWAY)
        if rule and fault == "replace_answer":
            return _error(rule.status)
        if fault == "corrupt" and not body:
            return replace(answer, body=_corrupted(answer.body))
        return None if fault == "drop_answer" else answer

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, answer: Answer, cut: int | None) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", _length(answer, self.command))
        self.end_headers()
        self.wfile.write(answer.body if cut is None else answer.body[:cut])
        if cut is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        _break(self.connection)


def _length(answer: Answer, method: str) -> str:
    promised = [value for name, value in answer.headers if name.lower() == "content-length"]
    return promised[0] if method == "HEAD" and promised else str(len(answer.body))


def _corrupted(body: bytes) -> bytes:
    """Change the last byte of the data, before any boundary of parts."""
    end = body.rfind(b"\r\n--")
    data = body[: end if end > 0 else len(body)]
    return (
        data[:-1] + bytes([data[-1] ^ 1]) + body[len(data) :]
        if data.rstrip(b"\r\n") == data != b""
        else body
    )


def _error(status: int) -> Answer:
    body = b'{"error": {"code": %d, "message": "by the proxy"}}' % status
    return Answer(status, [("Content-Type", "application/json")], body)


def _break(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
