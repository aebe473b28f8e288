"""One service as a process under its guard, see `guard.py`."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from promptmill.local import guard

KILL_MARGIN = (
    3.0  # seconds a guard has, after its service was to be killed, before both are killed from here
)
POLL_SECONDS = 0.05


class GuardedProcess:
    """A started command with everything below it, and the line to its guard.

    It ends with this process, whatever way that goes. `grace_period` is how many seconds it has between being asked to end
    and being killed. `lock_fd` is a descriptor that the guard keeps open until nothing is left of the command.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        grace_period: float,
        lock_fd: int,
    ):
        self.grace_period = grace_period
        self._pid: int | None = None
        self._deadline: float | None = None
        self._is_killed = False
        self._control_socket, guard_socket = socket.socketpair()
        self._control_socket.setblocking(False)
        with guard_socket, log.open("ab") as output:
            self._guard = subprocess.Popen(  # noqa: S603 (the command is our own)
                _guard_command(command, guard_socket.fileno(), grace_period),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(guard_socket.fileno(), lock_fd),
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """The service's own pid, None until its guard has started it."""
        if self._pid is None:
            try:
                self._pid = int(self._control_socket.recv(32) or 0) or None
            except OSError:
                return None
        return self._pid

    def exit_code(self) -> int | None:
        """None while anything of it runs, then its exit code, or 128 and the number of the signal that ended it."""
        code = self._guard.poll()
        if code is None:
            return None
        if code < 0:
            self._kill_once()  # the guard was killed: what it would have cleared away may be there
            return 128 - code
        return code

    def request_stop(self, *, force: bool = False) -> bool:
        """Ask it to end, and see to it when called again; True once nothing of it runs. In a hurry it has no grace."""
        if self.exit_code() is not None:
            return True
        if self._deadline is None:
            self._deadline = time.monotonic() + self.grace_period + KILL_MARGIN
            self._guard.send_signal(signal.SIGTERM)
        elif time.monotonic() > self._deadline:
            self._kill_once()
        elif force:
            self._guard.send_signal(signal.SIGTERM)
        return False

    def close(self) -> None:
        """Wait for its end, and let go of it."""
        while not self.request_stop():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(POLL_SECONDS)
        self._control_socket.close()

    def _kill_once(self) -> None:
        """Kill what is left of both groups; not again, when their numbers may be those of others."""
        if self._is_killed:
            return
        self._is_killed = True
        for group in (self._guard.pid, self.pid):
            try:
                os.killpg(group or self._guard.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def _guard_command(command: Sequence[str], control_fd: int, grace_period: float) -> list[str]:
    return [
        sys.executable,
        "-I",
        "-S",
        guard.__file__,
        str(os.getpid()),
        str(control_fd),
        str(grace_period),
        *command,
    ]
