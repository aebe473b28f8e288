"""One service as a process under its guard; see `guard.py`."""

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

KILL_MARGIN = 3.0
"""Seconds after the grace period until guard and service are killed."""
POLL_SECONDS = 0.05


class GuardedProcess:
    """A started command with its child processes and its guard.

    It ends with this process, even if this process is killed. `grace_period` is the
    time in seconds between SIGTERM and SIGKILL. The guard keeps `lock_fd` open until
    all processes of the command have ended.
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
        """The pid of the service; None until its guard has started it."""
        if self._pid is None:
            with contextlib.suppress(OSError):
                self._pid = int(self._control_socket.recv(32) or 0) or None
        return self._pid

    def exit_code(self) -> int | None:
        """Return the exit code, or 128 + signal; None while a process runs."""
        code = self._guard.poll()
        if code is None:
            return None
        if code < 0:
            self._kill_once()  # the guard was killed and could not clean up
            return 128 - code
        return code

    def request_stop(self, *, force: bool = False) -> bool:
        """Send SIGTERM, later SIGKILL; True once it has ended. `force` skips the grace period."""
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
        """Stop the service, wait for its end and close the socket."""
        while not self.request_stop():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(POLL_SECONDS)
        self._control_socket.close()

    def _kill_once(self) -> None:
        """Kill both process groups once; later their ids may belong to others."""
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
