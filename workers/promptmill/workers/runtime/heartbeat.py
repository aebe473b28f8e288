"""Calls a function every few seconds in a background thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def start_heartbeat(
    action: Callable[[], None], interval: float
) -> tuple[threading.Event, threading.Thread]:
    """Call ``action``, which must not raise, every ``interval`` seconds until the event is set."""
    stop_event = threading.Event()

    def run_loop() -> None:
        while not stop_event.wait(interval):
            action()

    thread = threading.Thread(target=run_loop, daemon=True)
    thread.start()
    return stop_event, thread


@contextmanager
def keep_heartbeat(action: Callable[[], None], interval: float) -> Iterator[None]:
    """Call ``action`` every ``interval`` seconds during the block, and never after it."""
    stop_event, thread = start_heartbeat(action, interval)
    try:
        yield
    finally:
        stop_event.set()
        thread.join()
