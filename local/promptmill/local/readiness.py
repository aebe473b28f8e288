"""Ways to see over the socket, or in its log, that a service is ready.

Each is a callable that takes what the service has logged since it was started and answers at once: True when ready.
"""

import http.client
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from promptmill.local.ports import HOST

ReadinessCheck = Callable[[str], bool]
TIMEOUT_SECONDS = 1.0  # seconds that one look may take


@dataclass(frozen=True)
class LogMatches:
    """Ready when a line of its log matches a regular expression."""

    pattern: str

    def __call__(self, log: str) -> bool:
        """Search the log."""
        return re.search(self.pattern, log, re.MULTILINE) is not None


@dataclass(frozen=True)
class HttpResponds:
    """Ready when a GET of this path is answered with 200."""

    port: int
    path: str

    def __call__(self, log: str) -> bool:  # noqa: ARG002 (a Ready)
        """Ask once."""
        return _fetch_status(self.port, self.path) == http.HTTPStatus.OK


@dataclass(frozen=True)
class RedisResponds:
    """Ready when a Redis server answers PING; it answers otherwise while it still loads its data."""

    port: int

    def __call__(self, log: str) -> bool:  # noqa: ARG002 (a Ready)
        """Ask once."""
        try:
            with socket.create_connection((HOST, self.port), timeout=TIMEOUT_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _fetch_status(port: int, path: str) -> int | None:
    """Make one GET on this machine, past any proxy of the environment; the status, or None without an answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
