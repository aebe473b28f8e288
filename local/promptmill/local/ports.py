"""Ports on the loopback interface: the preferred port, or a free one."""

import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping

HOST = "127.0.0.1"
PREFERRED_PORTS = {"redis": 6379, "storage": 4443, "emulator": 8080, "flower": 5555}
MAX_TRIES = 100


@contextlib.contextmanager
def reserve_ports(preferred: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Reserve a different port for each name; a preference of 0 means any.

    The ports are free. No other stack chooses them until the end of the block.
    """
    with contextlib.ExitStack() as claims:
        yield {
            name: claims.enter_context(_claim_port(port)).getsockname()[1]
            for name, port in preferred.items()
        }


def _claim_port(preferred_port: int) -> socket.socket:
    for port in (preferred_port, *[0] * MAX_TRIES):
        with contextlib.suppress(OSError):
            return _claim_exact_port(port)
    raise OSError(errno.EADDRINUSE, f"no free port on {HOST}; stop other servers")


def _claim_exact_port(port: int) -> socket.socket:
    """Claim a free TCP port for a later server by binding the UDP port of that number."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        # As in the servers: closed connections of a previous stack do not matter.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((HOST, port))
        server.listen()
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(server.getsockname())
        except BaseException:
            claim.close()
            raise
        return claim
