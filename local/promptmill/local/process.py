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

MARGIN = 3.0  # seconds a guard has, after its service was to be killed, before both are killed from here
LOOK = 0.05


class Process:
    """A started command with everything below it, and the line to its guard.

    It ends with this process, whatever way that goes. `grace` is how many seconds it has between being asked to end
    and being killed. `held` is a descriptor that the guard keeps open until nothing is left of the command.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, *, grace: float, held: int):
        self.grace = grace
        self._pid: int | None = None
        self._deadline: float | None = None
        self._is_killed = False
        self._line, far = socket.socketpair()
        self._line.setblocking(False)
        with far, log.open("ab") as output:
            self._guard = subprocess.Popen(  # noqa: S603 (the command is our own)
                _guarded(command, far.fileno(), grace),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(far.fileno(), held),
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """The service's own pid, None until its guard has started it."""
        if self._pid is None:
            try:
                self._pid = int(self._line.recv(32) or 0) or None
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

    def end(self, *, hurry: bool = False) -> bool:
        """Ask it to end, and see to it when called again; True once nothing of it runs. In a hurry it has no grace."""
        if self.exit_code() is not None:
            return True
        if self._deadline is None:
            self._deadline = time.monotonic() + self.grace + MARGIN
            self._guard.send_signal(signal.SIGTERM)
        elif time.monotonic() > self._deadline:
            self._kill_once()
        elif hurry:
            self._guard.send_signal(signal.SIGTERM)
        return False

    def close(self) -> None:
        """Wait for its end, and let go of it."""
        while not self.end():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(LOOK)
        self._line.close()

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


def _guarded(command: Sequence[str], line: int, grace: float) -> list[str]:
    return [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(line), str(grace), *command]
