"""Where the servers of a stack listen."""

import socket

from promptmill.local.ports import HOST, reserve_ports


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def test_a_preferred_port_that_is_free_is_taken_and_left_free_for_the_server() -> None:
    wanted = free_port()

    with reserve_ports({"redis": wanted}) as ports:
        assert ports == {"redis": wanted}
        with socket.create_server((HOST, wanted)):
            pass


def test_a_port_that_somebody_listens_on_is_replaced_by_a_free_one() -> None:
    with socket.create_server((HOST, 0)) as server:
        taken = server.getsockname()[1]
        with reserve_ports({"redis": taken}) as ports:
            assert ports["redis"] != taken
            with socket.create_server((HOST, ports["redis"])):
                pass


def test_two_servers_never_get_the_same_port() -> None:
    wanted = free_port()

    with reserve_ports({"one": wanted, "two": wanted, "three": 0, "four": 0}) as ports:
        assert ports["one"] == wanted
        assert len(set(ports.values())) == 4


def test_two_stacks_that_start_together_never_get_the_same_port_though_nobody_listens_on_it_yet() -> (
    None
):
    wanted = free_port()

    with reserve_ports({"flower": wanted}) as first, reserve_ports({"flower": wanted}) as second:
        assert first == {"flower": wanted}
        assert second != first
    with reserve_ports({"flower": wanted}) as third:
        assert third == first


def test_a_port_is_free_again_as_soon_as_its_server_and_connections_are_closed() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        near = socket.create_connection((HOST, port))
        far, _ = server.accept()
        far.close()  # the server's side closes first and stays in TIME_WAIT
        near.recv(1)
        near.close()

    with reserve_ports({"redis": port}) as ports:
        assert ports == {"redis": port}
