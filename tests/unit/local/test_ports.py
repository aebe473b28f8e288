"""Where the servers of a stack listen."""

import socket

from promptmill.local import ports


def free_port() -> int:
    with socket.create_server((ports.HOST, 0)) as server:
        return int(server.getsockname()[1])


def test_a_preferred_port_that_is_free_is_taken() -> None:
    wanted = free_port()

    assert ports.choose({"redis": wanted}) == {"redis": wanted}


def test_a_port_that_somebody_listens_on_is_replaced_by_a_free_one() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        taken = server.getsockname()[1]
        chosen = ports.choose({"redis": taken})["redis"]

    assert chosen != taken
    with socket.create_server((ports.HOST, chosen)):
        pass


def test_two_servers_never_get_the_same_port() -> None:
    wanted = free_port()

    chosen = ports.choose({"one": wanted, "two": wanted, "three": 0, "four": 0})

    assert chosen["one"] == wanted
    assert len(set(chosen.values())) == 4


def test_a_port_is_free_again_as_soon_as_its_server_and_connections_are_closed() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        port = server.getsockname()[1]
        near = socket.create_connection((ports.HOST, port))
        far, _ = server.accept()
        far.close()  # the server's side closes first and stays in TIME_WAIT
        near.recv(1)
        near.close()

    assert ports.choose({"redis": port}) == {"redis": port}
