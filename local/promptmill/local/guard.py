"""Runs one service and takes everything that it started down with it. A script of its own, run by path:

    python -I -S guard.py PARENT LINE GRACE COMMAND [ARGUMENT ...]

PARENT is the supervisor's pid and LINE the number of an inherited socket to it. The guard writes the service's pid on
that line. The line's end (a supervisor that was killed closes its side too) or another parent than PARENT means that
the supervisor is gone: the service is asked to end, as it is by SIGTERM, and killed GRACE seconds later, or at a second
SIGTERM. A guard never ends before the last process below it: on Linux it adopts orphans, such as the pool of a killed
Celery worker, and kills them; elsewhere it kills the process group.

Should the guard itself be killed, Linux kills the service with it (PR_SET_PDEATHSIG).
It starts without `site` in 20 ms, hence only the standard library.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
ORPHAN_GRACE = 2.0  # with the supervisor gone nobody waits for a tidy end
LOOK = 1.0  # a child that the supervisor forked may hold its end of the line open, so the parent is looked at as well
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def main(parent: int, line: int, grace: float, command: list[str]) -> int:
    """Run the command to its end and return its exit code; a signal's number is added to 128, as shells do."""
    wake = _wake_on_signals()
    prctl = _prctl()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = _start(command, prctl)
    os.write(line, b"%d\n" % child)
    try:
        return _Watch(parent, line, wake, child, grace).until_the_end()
    finally:
        _kill_all(child)


class _Watch:
    """Waits for the child, asking it to end when it should."""

    def __init__(self, parent: int, line: int, wake: int, child: int, grace: float):
        self.parent, self.line, self.wake, self.child, self.grace = parent, line, wake, child, grace
        self.deadline: float | None = None

    def until_the_end(self) -> int:
        while (code := _reap(self.child)) is None:
            if self.deadline is not None and time.monotonic() >= self.deadline:
                return 128 + signal.SIGKILL
            ready, _, _ = select.select([self.wake, *([self.line] if self.line >= 0 else [])], [], [], self._patience())
            if self.wake in ready:
                self._obey(os.read(self.wake, 64))
            if self.line in ready or os.getppid() != self.parent:
                self._orphaned()
        return code

    def _patience(self) -> float:
        return LOOK if self.deadline is None else max(0.0, min(LOOK, self.deadline - time.monotonic()))

    def _obey(self, signals: bytes) -> None:
        for number in signals:
            if number != signal.SIGCHLD:
                self._end(0.0 if self.deadline is not None else self.grace)

    def _orphaned(self) -> None:
        if self.line >= 0:
            self.line = -1
            self._end(min(self.grace, ORPHAN_GRACE))

    def _end(self, grace: float) -> None:
        """Ask the child alone: a Celery worker that is asked to end looks after its pool itself."""
        deadline = time.monotonic() + grace
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)
        _signal(os.kill, self.child, signal.SIGTERM)


def _wake_on_signals() -> int:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in HANDLED:
        signal.signal(number, _noted)
    return reader


def _noted(number: int, frame: FrameType | None) -> None:
    """Leave the work to the loop, which reads the number from the pipe."""


def _prctl() -> Callable[[int, int], object]:
    return ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: None


def _start(command: list[str], prctl: Callable[[int, int], object]) -> int:
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        signal.set_wakeup_fd(-1)
        for number in (*HANDLED, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before the line above, which then came too late
            os._exit(1)
        _keep_to_ourselves()
        os.execvp(command[0], command)  # noqa: S606 (the command is our own)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _keep_to_ourselves() -> None:
    """Let the service inherit neither the line nor the lock of its stack."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            os.set_inheritable(int(name), int(name) <= 2)


def _reap(child: int) -> int | None:
    """Collect every process that ended, adopted ones too; the child's exit code when it was among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code


def _kill_all(child: int) -> None:
    _signal(os.killpg, child, signal.SIGKILL)
    _signal(os.kill, child, signal.SIGKILL)
    # Killing a process hands its children to us, so look again until there are none.
    while _has_children():
        for pid in _children():
            _signal(os.kill, pid, signal.SIGKILL)
        _reap(child)
        time.sleep(0.005)


def _has_children() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG) is not None
    except ChildProcessError:
        return False


def _children() -> Iterator[int]:
    me = str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[1].decode() == me:
            yield int(stat.parent.name)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        send(pid, number)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
