"""Does something every few seconds in a thread beside the work at hand."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def begin(act: Callable[[], None], period: float) -> tuple[threading.Event, threading.Thread]:
    """Do it each ``period`` seconds until the event that is returned is set; ``act`` must not raise."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(period):
            act()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    return over, thread


@contextmanager
def done(act: Callable[[], None], period: float) -> Iterator[None]:
    """Do it each ``period`` seconds while the block lasts, and surely not after it."""
    over, thread = begin(act, period)
    try:
        yield
    finally:
        over.set()
        thread.join()
