"""Does something every few seconds in a thread beside the work at hand."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def start_heartbeat(
    action: Callable[[], None], interval: float
) -> tuple[threading.Event, threading.Thread]:
    """Do it each ``interval`` seconds until the event that is returned is set; ``action`` must not raise."""
    stop_event = threading.Event()

    def run_loop() -> None:
        while not stop_event.wait(interval):
            action()

    thread = threading.Thread(target=run_loop, daemon=True)
    thread.start()
    return stop_event, thread


@contextmanager
def keep_heartbeat(action: Callable[[], None], interval: float) -> Iterator[None]:
    """Do it each ``interval`` seconds while the block lasts, and surely not after it."""
    stop_event, thread = start_heartbeat(action, interval)
    try:
        yield
    finally:
        stop_event.set()
        thread.join()
