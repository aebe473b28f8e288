"""A stack that runs until it is told to stop, and the way to tell it from another process."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from promptmill.local.errors import Interrupted
from promptmill.local.events import OnEvent, ignore
from promptmill.local.services import DIRECTORY, Options
from promptmill.local.stack import Stack
from promptmill.local.state import await_end, read_state

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_supervisor(
    options: Options | None = None, on_event: OnEvent = ignore, on_ready: Callable[[Stack], None] = lambda _: None
) -> None:
    """Run a stack until Ctrl-C, SIGTERM or the end of the terminal; a second one kills what is slow to stop.

    Must be called in the main thread. Raises what Stack raises when it cannot start.
    """
    stack = Stack(options, on_event)
    with _signals(stack.interrupt), contextlib.suppress(Interrupted), stack:
        on_ready(stack)
        stack.wait()


def stop_running(directory: Path = DIRECTORY, timeout: float = 60.0) -> bool:
    """Stop the stack of a directory and return when nothing of it is left; False when none was running.

    Its supervisor is killed when it has not stopped everything after so many seconds.
    """
    directory = directory.resolve()
    state = read_state(directory)
    if state is None:
        return False
    _send(state.pid, signal.SIGTERM)
    if not await_end(directory, timeout):
        _send(state.pid, signal.SIGKILL)
        await_end(directory, timeout)
    return True


@contextlib.contextmanager
def _signals(interrupt: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (a signal handler)
        interrupt()

    # nohup lets a program ignore the end of its terminal.
    wanted = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
