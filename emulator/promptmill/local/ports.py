"""Ports on the loopback interface: the preferred one, or a free one when that is taken."""

import contextlib
import socket
from collections.abc import Mapping

HOST = "127.0.0.1"
PREFERRED = {"redis": 6379, "storage": 4443, "emulator": 8080, "flower": 5555}


def choose(preferred: Mapping[str, int]) -> dict[str, int]:
    """Find a port for each name, all different; 0 prefers none. Nothing is listening on them yet."""
    with contextlib.ExitStack() as held:
        return {name: held.enter_context(_bound(port)).getsockname()[1] for name, port in preferred.items()}


def _bound(port: int) -> socket.socket:
    try:
        return _bind(port)
    except OSError:
        return _bind(0)


def _bind(port: int) -> socket.socket:
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # The servers do the same, so that a port is not taken by connections that a stack before this one closed.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, port))
        taken.listen()  # or else the option above lets another stack that starts now have it too
    except BaseException:
        taken.close()
        raise
    return taken
