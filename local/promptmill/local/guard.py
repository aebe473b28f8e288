"""Runs one service and kills all of its processes at the end. Run it by path:

    python -I -S guard.py PARENT SOCKET GRACE COMMAND [ARGUMENT ...]

PARENT is the pid of the supervisor. SOCKET is the descriptor of an inherited socket to
it. The guard writes the pid of the service there. The supervisor has ended if the
socket closes or the guard has another parent. Then, or at SIGTERM, the service gets SIGTERM.
It gets SIGKILL after GRACE seconds or at a second SIGTERM.

The guard outlives all processes of the service. On Linux it adopts orphans, such as the
pool of a killed Celery worker, and kills them. Elsewhere it kills the process group.
If the guard is killed, Linux kills the service too (PR_SET_PDEATHSIG).

Without `site` it starts in 20 ms; it therefore uses only the standard library.
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
ORPHAN_GRACE_PERIOD = 2.0  # after the supervisor has ended
# The parent is checked too: a child forked by the supervisor may keep the socket open.
PARENT_CHECK_SECONDS = 1.0
HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def main(parent_pid: int, control_fd: int, grace_period: float, command: list[str]) -> int:
    """Run the command and return its exit code, or 128 + signal as in shells."""
    wake_fd = _wake_on_signals()
    prctl = _load_prctl()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    child_pid = _start_child(command, prctl)
    os.write(control_fd, b"%d\n" % child_pid)
    try:
        return _ChildWatcher(
            parent_pid, control_fd, wake_fd, child_pid, grace_period
        ).wait_for_exit()
    finally:
        _kill_all(child_pid)


class _ChildWatcher:
    """Waits for the child, and stops it on request."""

    def __init__(
        self, parent_pid: int, control_fd: int, wake_fd: int, child_pid: int, grace_period: float
    ):
        self.parent_pid, self.control_fd, self.wake_fd, self.child_pid, self.grace_period = (
            parent_pid,
            control_fd,
            wake_fd,
            child_pid,
            grace_period,
        )
        self.deadline: float | None = None

    def wait_for_exit(self) -> int:
        while (code := _reap_children(self.child_pid)) is None:
            if self.deadline is not None and time.monotonic() >= self.deadline:
                return 128 + signal.SIGKILL
            control_fds = [self.control_fd] if self.control_fd >= 0 else []
            watched_fds = [self.wake_fd, *control_fds]
            ready, _, _ = select.select(watched_fds, [], [], self._select_timeout())
            if self.wake_fd in ready:
                self._handle_signals(os.read(self.wake_fd, 64))
            if self.control_fd in ready or os.getppid() != self.parent_pid:
                self._handle_lost_parent()
        return code

    def _select_timeout(self) -> float:
        if self.deadline is None:
            return PARENT_CHECK_SECONDS
        return max(0.0, min(PARENT_CHECK_SECONDS, self.deadline - time.monotonic()))

    def _handle_signals(self, signals: bytes) -> None:
        for number in signals:
            if number != signal.SIGCHLD:
                self._request_stop(0.0 if self.deadline is not None else self.grace_period)

    def _handle_lost_parent(self) -> None:
        if self.control_fd >= 0:
            self.control_fd = -1
            self._request_stop(min(self.grace_period, ORPHAN_GRACE_PERIOD))

    def _request_stop(self, grace_period: float) -> None:
        """Send SIGTERM to the child only: a Celery worker stops its pool itself."""
        deadline = time.monotonic() + grace_period
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)
        _send_signal(os.kill, self.child_pid, signal.SIGTERM)


def _wake_on_signals() -> int:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in HANDLED_SIGNALS:
        signal.signal(number, _ignore_signal)
    return reader


def _ignore_signal(number: int, frame: FrameType | None) -> None:
    """Do nothing: the loop reads the signal from the pipe."""


def _load_prctl() -> Callable[[int, int], object]:
    return ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: None


def _start_child(command: list[str], prctl: Callable[[int, int], object]) -> int:
    guard_pid = os.getpid()
    child_pid = os.fork()
    if child_pid:
        return child_pid
    try:
        signal.set_wakeup_fd(-1)
        for number in (*HANDLED_SIGNALS, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The guard may have died before the prctl call.
        if os.getppid() != guard_pid:
            os._exit(1)
        _limit_inheritance()
        os.execvp(command[0], command)  # noqa: S606 (the command is our own)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _limit_inheritance() -> None:
    """Keep the service from inheriting the guard's socket and the stack's lock."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            os.set_inheritable(int(name), int(name) <= 2)


def _reap_children(child_pid: int) -> int | None:
    """Reap all ended processes; return the child's exit code if it has ended."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child_pid:
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code


def _kill_all(child_pid: int) -> None:
    _send_signal(os.killpg, child_pid, signal.SIGKILL)
    _send_signal(os.kill, child_pid, signal.SIGKILL)
    # The guard adopts the children of a killed process and kills them too.
    while _has_children():
        for pid in _list_children():
            _send_signal(os.kill, pid, signal.SIGKILL)
        _reap_children(child_pid)
        time.sleep(0.005)


def _has_children() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG) is not None
    except ChildProcessError:
        return False


def _list_children() -> Iterator[int]:
    own_pid = str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[1].decode() == own_pid:
            yield int(stat.parent.name)


def _send_signal(kill: Callable[[int, int], None], pid: int, signal_number: int) -> None:
    # macOS answers EPERM for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill(pid, signal_number)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
