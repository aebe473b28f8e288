"""Runs a stack until it is stopped, and stops one from another process."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from promptmill.local.errors import Interrupted
from promptmill.local.events import OnEvent, ignore_event
from promptmill.local.services import DEFAULT_DIRECTORY, StackOptions
from promptmill.local.stack import Stack
from promptmill.local.state import read_state, wait_until_free

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_supervisor(
    options: StackOptions | None = None,
    on_event: OnEvent = ignore_event,
    on_ready: Callable[[Stack], None] = lambda _: None,
) -> None:
    """Run a stack until Ctrl-C, SIGTERM or SIGHUP. A second signal kills slow services.

    Must be called in the main thread. Raises the errors of `Stack.start`.
    """
    stack = Stack(options, on_event)
    with _handle_signals(stack.interrupt), contextlib.suppress(Interrupted), stack:
        on_ready(stack)
        stack.wait()


def stop_running(directory: Path = DEFAULT_DIRECTORY, timeout: float = 60.0) -> bool:
    """Stop the stack of a directory and wait for its end; False if none was running.

    Kills the supervisor after `timeout` seconds.
    """
    directory = directory.resolve()
    state = read_state(directory)
    if state is None:
        return False
    _send_signal(state.pid, signal.SIGTERM)
    if not wait_until_free(directory, timeout):
        _send_signal(state.pid, signal.SIGKILL)
        wait_until_free(directory, timeout)
    return True


@contextlib.contextmanager
def _handle_signals(interrupt: Callable[[], None]) -> Iterator[None]:
    def handle_signal(_number: int, _frame: FrameType | None) -> None:
        interrupt()

    previous_handlers = {
        number: signal.signal(number, handle_signal) for number in _list_handled_signals()
    }
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def _list_handled_signals() -> list[signal.Signals]:
    # Under nohup SIGHUP is ignored.
    has_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in STOP_SIGNALS if not (has_nohup and number == signal.SIGHUP)]


def _send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
