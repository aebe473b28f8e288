"""Real processes under a real supervisor, and the processes that they leave."""

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from promptmill.local import Event, Service
from promptmill.local.readiness import LogMatches
from promptmill.local.restart import RestartPolicy
from promptmill.local.state import ServiceState, lock_directory
from promptmill.local.supervisor import Supervisor
from support.waiting import PATIENCE

MARK = "PROMPTMILL_TEST_MARK"


@contextlib.contextmanager
def marking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Mark the environment of all processes of a test; none may remain when the test ends.

    The mark is the test's directory. Redis overwrites its environment, so that its working
    directory identifies it.
    """
    value = str(tmp_path)
    monkeypatch.setenv(MARK, value)
    yield value
    left = marked(value)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert left == []


# A child that ignores SIGTERM, and two grandchildren in new sessions, one orphaned.
STUBBORN = """
    import os, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for orphan in (False, True):
        if os.fork() == 0:
            if orphan:
                os.setsid()
            if os.fork() == 0:
                os.setsid()
                input_forever()
            if orphan:
                os._exit(0)
            input_forever()
    print("ready", flush=True)
    input_forever()
"""
_RESTART_POLICY = RestartPolicy()
PRELUDE = "import signal, sys\ndef input_forever():\n    while True:\n        signal.pause()\n"


def plain(
    name: str,
    code: str,
    *,
    start_timeout: float = PATIENCE,
    restart_policy: RestartPolicy = _RESTART_POLICY,
) -> Service:
    command = (sys.executable, "-c", PRELUDE + textwrap.dedent(code))
    environment = dict(os.environ)
    ready = LogMatches("^ready")
    return Service(
        name,
        command,
        ready,
        environment,
        start_timeout=start_timeout,
        grace_period=0.5,
        restart_policy=restart_policy,
    )


def stubborn() -> Service:
    return plain("stubborn", STUBBORN)


@contextlib.contextmanager
def supervised(
    directory: Path,
    service: Service,
    on_event: Callable[[Event], None] = lambda _: None,
    *more: Service,
) -> Iterator[Supervisor]:
    def ignore(services: dict[str, ServiceState]) -> None:
        pass

    with lock_directory(directory) as held:
        supervisor = Supervisor([service, *more], directory / "logs", held, on_event, ignore)
        try:
            supervisor.start()
            yield supervisor
        finally:
            supervisor.stop()


@contextlib.contextmanager
def foreign_supervisor(
    directory: Path, service: Service, *, wait: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor of one service as a separate process."""
    code = f"""
        from pathlib import Path
        from promptmill.local.readiness import LogMatches
        from promptmill.local.service import Service
        from promptmill.local.state import lock_directory
        from promptmill.local.supervisor import Supervisor
        service = Service({service.name!r}, {service.command!r}, {service.is_ready!r}, {dict(service.environment)!r})
        with lock_directory(Path({str(directory)!r})) as lock_fd:
            supervisor = Supervisor([service], Path({str(directory)!r}), lock_fd, lambda _: None, lambda _: None)
            try:
                supervisor.start()
                print("up", flush=True)
                supervisor.wait()
            finally:
                supervisor.stop()
    """
    with script(code) as process:
        assert process.stdout
        assert not wait or process.stdout.readline() == "up\n"
        yield process


@contextlib.contextmanager
def script(code: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes with the mark in their environment or working directory."""
    return [process for process in psutil.process_iter() if bears(process, mark)]


def pids(mark: str) -> set[int]:
    return {process.pid for process in marked(mark)}


def bears(process: psutil.Process, mark: str) -> bool:
    try:
        marked = process.environ().get(MARK) == mark or process.cwd().startswith(mark)
        return marked and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
