"""Readiness checks of a service, over its socket or in its log.

Each is a callable that takes the log since the start and returns True when ready.
"""

import http.client
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from promptmill.local.ports import HOST

ReadinessCheck = Callable[[str], bool]
TIMEOUT_SECONDS = 1.0  # of one check


@dataclass(frozen=True)
class LogMatches:
    """Ready when a line of the log matches a regular expression."""

    pattern: str

    def __call__(self, log: str) -> bool:
        """Search the log."""
        return re.search(self.pattern, log, re.MULTILINE) is not None


@dataclass(frozen=True)
class HttpResponds:
    """Ready when a GET of this path returns 200."""

    port: int
    path: str

    def __call__(self, log: str) -> bool:  # noqa: ARG002 (a ReadinessCheck)
        """Send one request."""
        return _fetch_status(self.port, self.path) == http.HTTPStatus.OK


@dataclass(frozen=True)
class RedisResponds:
    """Ready when Redis answers PONG. While it loads data it answers otherwise."""

    port: int

    def __call__(self, log: str) -> bool:  # noqa: ARG002 (a ReadinessCheck)
        """Send one request."""
        try:
            with socket.create_connection((HOST, self.port), timeout=TIMEOUT_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _fetch_status(port: int, path: str) -> int | None:
    """Return the status of one GET, or None without a response. Ignores proxies."""
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
