"""The state of the stack in a directory: `stack.json` and `stack.lock`.

The supervisor and all guards hold the lock. It is free once the whole stack has ended.
The file may outlive its supervisor: a killed one cannot remove it.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from promptmill.local.errors import AlreadyRunning

LEFTOVER_SECONDS = 15.0  # for the guards of a killed supervisor to end
POLL_SECONDS = 0.05


class ServiceState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One service.

    `state` is waiting, starting, ready, restarting, failed, stopping or stopped.
    """

    state: str
    pid: int | None = None
    port: int | None = None
    url: str | None = None
    restarts: int = 0


class StackState(msgspec.Struct, frozen=True):
    """A stack: its supervisor, the client environment, and the services in order."""

    pid: int
    started: str
    directory: str
    environment: dict[str, str]
    services: dict[str, ServiceState]


def read_state(directory: Path) -> StackState | None:
    """Return the running stack of a directory, or None."""
    try:
        state = msgspec.json.decode(_state_file(directory).read_bytes(), type=StackState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return state if process_start_time(state.pid) == state.started else None


def write_state(directory: Path, state: StackState) -> None:
    """Replace the state file atomically."""
    temporary = _state_file(directory).with_suffix(".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    temporary.replace(_state_file(directory))


def remove_state(directory: Path) -> None:
    """Remove the state file."""
    _state_file(directory).unlink(missing_ok=True)


def process_start_time(pid: int) -> str | None:
    """Return when a process started, or None; distinguishes processes with one pid."""
    if sys.platform != "linux":
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        listing = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return listing.stdout.strip() or None
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    # proc(5): the 22nd field is starttime.
    return None if fields[0] == b"Z" else fields[19].decode()


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[int]:
    """Lock the directory for one stack; yields the descriptor of the lock.

    Waits for the processes of a killed stack. Raises AlreadyRunning if one is live.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _open_lock(directory) as lock:
        if not _wait_for_lock(lock, LEFTOVER_SECONDS, lambda: read_state(directory) is not None):
            raise AlreadyRunning(_in_use_message(directory))
        yield lock


def wait_until_free(directory: Path, timeout: float) -> bool:
    """Wait until the directory's stack has ended; False after `timeout` seconds."""
    with _open_lock(directory) as lock:
        return _wait_for_lock(lock, timeout, lambda: False)


@contextlib.contextmanager
def _open_lock(directory: Path) -> Iterator[int]:
    lock = os.open(directory / "stack.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield lock
    finally:
        os.close(lock)


def _wait_for_lock(lock: int, timeout: float, should_abort: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout
    while not _try_lock(lock):
        if time.monotonic() > deadline or should_abort():
            return False
        time.sleep(POLL_SECONDS)
    return True


def _try_lock(lock: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _in_use_message(directory: Path) -> str:
    state = read_state(directory)
    owner = f"process {state.pid}" if state else "processes of a killed stack"
    command = f"promptmill down --data {directory}"
    return f"{directory} is in use by {owner}; stop it with {command}, or choose another directory"


def _state_file(directory: Path) -> Path:
    return directory / "stack.json"
