"""Ports on the loopback interface: the preferred one, or a free one when that is taken."""

import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping

HOST = "127.0.0.1"
PREFERRED_PORTS = {"redis": 6379, "storage": 4443, "emulator": 8080, "flower": 5555}
MAX_TRIES = 100


@contextlib.contextmanager
def reserve_ports(preferred: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Find a port for each name, all different; 0 prefers none.

    Nothing is listening on them yet, and no other stack chooses them until the end of the block.
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
    raise OSError(errno.EADDRINUSE, f"no port of {HOST} is free")


def _claim_exact_port(port: int) -> socket.socket:
    """Claim a port that nobody listens on by the UDP port of its number.

    The port itself has to be free for the server, which may be seconds away from listening; the claim ends with this
    process whatever happens to it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        # The servers do the same, so that a port is not taken by connections that a stack before this one closed.
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
