"""The BigQuery emulator: local-bigquery, a server over DuckDB, in its own environment.

It needs Python 3.13 exactly. The first use creates the environment from pinned wheels, which
include the extensions of DuckDB. The server downloads nothing when it runs.
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.waiting import PATIENCE, wait_until

PROJECT = "acme"
_LOCK = Path(__file__).parent / "bigquery.lock"
_HOME = Path(sys.prefix) / "bigquery"
_EXTENSIONS = ("ducklake", "httpfs", "icu", "spatial")
_INSTALL = "import duckdb_extensions, sys; [duckdb_extensions.import_extension(name) for name in sys.argv[1:]]"


@contextlib.contextmanager
def running_bigquery(directory: Path, storage: str = "") -> Iterator[str]:
    """Run the server, and yield its URL; skip the test without Python 3.13.

    The server reads and writes ``gs://`` at the URL ``storage``.
    """
    python = _environment()
    if python is None:
        pytest.skip("BigQuery's stand-in needs Python 3.13, and none is found")
    port, grpc_port = _free_port(), _free_port()
    environment = os.environ | {
        "HOME": str(_HOME),
        "STORAGE_EMULATOR_HOST": storage,
        "DATA_DIR": str(directory / "data"),
    }
    with (directory / "bigquery.log").open("wb") as log:
        server = subprocess.Popen(
            [python.with_name("local-bigquery"), "serve", "--host", "127.0.0.1", "--port", str(port),
             "--grpc-port", str(grpc_port), "--project", PROJECT, "--data-dir", str(directory / "data")],
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: server.poll() is not None or _answers(url), "BigQuery's stand-in")
            assert server.poll() is None, (directory / "bigquery.log").read_text()
            _meet_storage(url)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@functools.cache
def _environment() -> Path | None:
    """Return the Python of the server's environment, which is created if needed.

    Several test processes may call this at the same time.
    """
    found = _find_python()
    if found is None:
        return None
    _HOME.mkdir(exist_ok=True)
    python, done = _HOME / "venv" / "bin" / "python", _HOME / "done"
    with (_HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_bytes() != _LOCK.read_bytes():
            _make(found, python)
            done.write_bytes(_LOCK.read_bytes())
    return python


def _make(found: str, python: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    shutil.rmtree(_HOME / "venv", ignore_errors=True)
    subprocess.run([uv, "venv", "--quiet", "--python", found, _HOME / "venv"], check=True)
    flags = ["--quiet", "--compile-bytecode", "--system-certs", "--require-hashes"]
    subprocess.run([uv, "pip", "sync", *flags, "--python", python, _LOCK], check=True)
    subprocess.run(
        [python, "-c", _INSTALL, *_EXTENSIONS], env=os.environ | {"HOME": str(_HOME)}, check=True
    )


def _find_python() -> str | None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which("python3.13"), *map(str, sorted(pyenv.glob("3.13.*/bin/python")))]
    return next((one for one in candidates if one and _is_3_13(one)), None)


def _is_3_13(python: str) -> bool:
    asked = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, check=False
    )
    return asked.stdout.strip() == b"(3, 13)"


def _meet_storage(url: str) -> None:
    """Load a missing file, so that tests need not share the first load.

    The server registers with storage at its first load, and two first loads at once fail.
    """
    load = {
        "destinationTable": {"projectId": PROJECT, "datasetId": "local", "tableId": "none"},
        "sourceUris": ["gs://nowhere/none.jsonl"],
        "sourceFormat": "NEWLINE_DELIMITED_JSON",
    }
    body = json.dumps(
        {"jobReference": {"jobId": "first"}, "configuration": {"load": load}}
    ).encode()
    asked = urllib.request.Request(
        f"{url}/bigquery/v2/projects/{PROJECT}/jobs", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        assert answer.status == 200
    look = f"{url}/bigquery/v2/projects/{PROJECT}/jobs/first"
    wait_until(lambda: _ask(look)["status"]["state"] == "DONE", "the first load")


def _ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return json.load(answer)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(
            f"{url}/bigquery/v2/projects/{PROJECT}/datasets", timeout=PATIENCE
        ) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
