"""The proxy that breaks and refuses connections, whatever they carry."""

import socket

from support.tcp_proxy import HOST, TcpProxy
from support.waiting import PATIENCE


def test_a_connection_goes_through_until_it_is_broken() -> None:
    with (
        socket.create_server((HOST, 0)) as upstream,
        TcpProxy(HOST, upstream.getsockname()[1]) as proxy,
    ):
        near, far = connect(proxy, upstream)
        near.sendall(b"ping")
        assert far.recv(4) == b"ping"
        far.sendall(b"pong")
        assert near.recv(4) == b"pong"

        proxy.break_all()

        assert ends(near)
        assert ends(far)


def test_a_refusing_proxy_ends_new_connections_and_keeps_the_old_ones() -> None:
    with (
        socket.create_server((HOST, 0)) as upstream,
        TcpProxy(HOST, upstream.getsockname()[1]) as proxy,
    ):
        old, far = connect(proxy, upstream)
        proxy.refusing = True

        with socket.create_connection((HOST, proxy.port), timeout=PATIENCE) as new:
            assert ends(new, close=False)
        old.sendall(b"ping")
        assert far.recv(4) == b"ping"

        old.close()
        assert ends(far)


def connect(proxy: TcpProxy, upstream: socket.socket) -> tuple[socket.socket, socket.socket]:
    near = socket.create_connection((HOST, proxy.port), timeout=PATIENCE)
    far, _ = upstream.accept()
    far.settimeout(10)
    return near, far


def ends(connection: socket.socket, *, close: bool = True) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    finally:
        if close:
            connection.close()
