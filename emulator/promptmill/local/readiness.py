"""Ways to see over the socket, or in its log, that a service is ready.

Each is a callable that takes what the service has logged since it was started and answers at once: True when ready.
"""

import http.client
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from promptmill.local.ports import HOST

Ready = Callable[[str], bool]
PATIENCE = 1.0  # seconds that one look may take


@dataclass(frozen=True)
class Logged:
    """Ready when a line of its log matches a regular expression."""

    pattern: str

    def __call__(self, log: str) -> bool:
        """Search the log."""
        return re.search(self.pattern, log, re.MULTILINE) is not None


@dataclass(frozen=True)
class Answers:
    """Ready when a GET of this path is answered with 200."""

    port: int
    path: str

    def __call__(self, log: str) -> bool:  # noqa: ARG002 (a Ready)
        """Ask once."""
        return call(self.port, "GET", self.path) == http.HTTPStatus.OK


@dataclass(frozen=True)
class Pongs:
    """Ready when a Redis server answers PING; it answers otherwise while it still loads its data."""

    port: int

    def __call__(self, log: str) -> bool:  # noqa: ARG002 (a Ready)
        """Ask once."""
        try:
            with socket.create_connection((HOST, self.port), timeout=PATIENCE) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@dataclass(frozen=True)
class HasBucket:
    """Ready when the storage server has this bucket, which is created when it is missing."""

    port: int
    bucket: str
    project: str

    def __call__(self, log: str) -> bool:  # noqa: ARG002 (a Ready)
        """Look for the bucket, and create it."""
        found = call(self.port, "GET", f"/storage/v1/b/{self.bucket}")
        if found == http.HTTPStatus.NOT_FOUND:
            body = msgspec.json.encode({"name": self.bucket})
            call(self.port, "POST", f"/storage/v1/b?project={self.project}", body)
        return found == http.HTTPStatus.OK


def call(port: int, method: str, path: str, body: bytes | None = None) -> int | None:
    """Make one HTTP call to this machine, past any proxy of the environment; the status, or None without an answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
