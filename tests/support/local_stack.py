"""A local stack for tests: real servers and workers as processes."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import pytest

from promptmill.local import Stack, StackOptions
from promptmill.local.state import ServiceState
from promptmill.producers import Result, Run
from promptmill.producers.contract.status import RunStatus
from support.waiting import PATIENCE

SERVERS = ("redis", "storage", "emulator")
WORKERS = ("worker", "poll", "beat")
EVERYTHING = (*SERVERS, *WORKERS, "flower")
ANY_PORT = {"redis": 0, "storage": 0, "emulator": 0, "flower": 0}
MODEL = "gemini-3.8-flash"
QUICK = {
    "PROMPTMILL_POLL_INTERVAL": "0.5",
    "PROMPTMILL_RECONCILE_INTERVAL": "2",
    "PROMPTMILL_RETRY_DELAY_SECONDS": "1",
    "PROMPTMILL_CREATION_VISIBILITY_SECONDS": "3",
    "PROMPTMILL_MAX_CREATES_PER_MINUTE": "60000",
}
"""Settings with short intervals for tests."""


@dataclass(frozen=True)
class LocalStack:
    """A running stack, with access to its emulator."""

    stack: Stack

    @property
    def directory(self) -> Path:
        return self.stack.directory

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which a client finds the stack."""
        return self.stack.client_environment() | {"PROMPTMILL_MODEL": MODEL}

    @property
    def everything(self) -> dict[str, str]:
        """The complete environment of a client process."""
        return os.environ | self.environment

    @property
    def emulator(self) -> str:
        """The emulator's base URL."""
        return str(self.status()["emulator"].url)

    def status(self) -> dict[str, ServiceState]:
        """Return the state of each service by its name."""
        return self.stack.status()

    def cli(
        self, *arguments: str, stdin: str = "", timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run `promptmill` in the stack's directory."""
        return subprocess.run(
            [sys.executable, "-m", "promptmill.cli", *arguments],
            env=self.everything,
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def read_cli(self, *arguments: str, stdin: str = "") -> str:
        """Return the stdout of `promptmill`; if it fails, the test fails with its stderr."""
        done = self.cli(*arguments, stdin=stdin)
        assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
        return done.stdout

    def fault(self, on: str, fault: str, *, times: int | None = 1, **rule: Any) -> None:
        """Inject a fault into the next calls or jobs; see `promptmill.emulator.faults`."""
        asked = {"on": on, "fault": fault, **rule} | ({} if times is None else {"times": times})
        ask(self.emulator, "POST", "/admin/faults", msgspec.json.encode(asked))

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are not used up."""
        return list(ask(self.emulator, "GET", "/admin/faults"))

    def clear_faults(self) -> None:
        ask(self.emulator, "DELETE", "/admin/faults")

    @contextlib.contextmanager
    def standing_clock(self) -> Iterator[None]:
        """Stop the emulator's clock until the block ends, so that no job ends."""
        ask(self.emulator, "POST", "/admin/clock", b'{"speed": 0.000001}')
        try:
            yield
        finally:
            ask(self.emulator, "POST", "/admin/clock", b'{"speed": 1}')

    def jobs(self, run: str) -> list[dict[str, Any]]:
        """Return the jobs on the emulator's bill for a run."""
        bill = ask(self.emulator, "GET", "/admin/bill")
        return [job for job in bill["jobs_detail"] if job["labels"].get("run") == run]

    def billed(self) -> int:
        """Return the number of jobs on the bill."""
        return int(ask(self.emulator, "GET", "/admin/bill")["jobs"])

    def processes(self, *services: str) -> list[psutil.Process]:
        """Return the processes of services with their pools; none for a restarting service."""
        found = []
        for pid in (self.status()[name].pid for name in services):
            with contextlib.suppress(psutil.NoSuchProcess):
                first = (
                    psutil.Process(pid) if pid else None
                )  # without a pid it would be the test's own
                found += [first, *first.children(recursive=True)] if first else []
        return found

    def kill(self, *services: str) -> None:
        """Kill services with all their processes, as a power failure does; they are restarted."""
        doomed = self.processes(*services)
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(doomed, timeout=PATIENCE)


def ask(url: str, method: str, path: str, body: bytes | None = None) -> Any:
    """Make a call, and return the decoded response."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return msgspec.json.decode(data)
    finally:
        connection.close()


@contextlib.contextmanager
def running(
    directory: Path,
    services: tuple[str, ...] = EVERYTHING,
    *,
    latency: float = 1.0,
    location: str = "global",
    settings: Mapping[str, str] = QUICK,
) -> Iterator[LocalStack]:
    """Run a stack until the block ends; its workers have these settings."""
    options = StackOptions(
        directory=directory, services=services, latency=latency, location=location, ports=ANY_PORT
    )
    with surroundings(settings):
        stack = Stack(options).start()
    try:
        yield LocalStack(stack)
    finally:
        stack.stop()


@contextlib.contextmanager
def surroundings(environment: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


def done(run: Run, timeout: float = PATIENCE) -> RunStatus:
    """Wait for the end of a run, and return its status."""
    return run.wait(timeout)


def shows_its_price(run: Run) -> bool:
    """Return whether the report of a run has its cost and the earlier estimate."""
    cost = run.report().cost
    return bool(
        cost
        and cost.usd
        and cost.estimate
        and re.match(r"\$[\d.,]+ \(estimated \$[\d.,]+, at most ", str(cost))
    )


def keys(results: list[Result]) -> Counter[str]:
    """Count the results of each key."""
    return Counter(result.key for result in results)


def once(names: Iterator[str] | list[str] | range) -> Counter[str]:
    """Return a count of one for each of these keys."""
    return Counter(map(str, names))


def read_results(path: Path) -> list[Result]:
    """Return the results in a file."""
    with path.open("rb") as lines:
        return [msgspec.json.decode(line, type=Result) for line in lines]
