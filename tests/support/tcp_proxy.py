"""A TCP proxy that can break or refuse connections."""

import select
import socket
import threading
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self, cast

HOST = "127.0.0.1"


class TcpProxy:
    """A proxy before one TCP server, for any protocol."""

    def __init__(self, host: str, port: int):
        self.upstream = (host, port)
        self.refusing = False
        self._connections: set[socket.socket] = set()
        self._server = _Server((HOST, 0), _Pipe)
        self._server.proxy = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def break_all(self) -> None:
        """Break every open connection; new ones are accepted unless ``refusing`` is True."""
        for connection in list(self._connections):
            _break(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refusing = True
        self._server.shutdown()
        self._thread.join()
        self.break_all()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    proxy: TcpProxy
    daemon_threads = False
    request_queue_size = 128


class _Pipe(BaseRequestHandler):
    def handle(self) -> None:
        proxy = cast("_Server", self.server).proxy
        if proxy.refusing:
            return
        try:
            proxy._connections.add(self.request)
            with socket.create_connection(proxy.upstream) as upstream:
                _pump(self.request, upstream)
        except OSError:
            return
        finally:
            proxy._connections.discard(self.request)


def _pump(near: socket.socket, far: socket.socket) -> None:
    """Forward bytes in both directions until one side closes."""
    while True:
        for ready in select.select([near, far], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (far if ready is near else near).sendall(data)


def _break(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
