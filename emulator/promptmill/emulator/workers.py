"""Threads that execute jobs, in order of creation."""

import queue
import threading
import traceback
from collections.abc import Callable

WORKER_COUNT = 4


class Workers:
    """Daemon threads. If the process ends, a restart repeats their work."""

    def __init__(self, size: int = WORKER_COUNT) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(size):
            threading.Thread(target=self._run_loop, name=f"job-{number}", daemon=True).start()

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` when a thread is free. Errors are printed."""
        self._queue.put(work)

    def _run_loop(self) -> None:
        while True:
            try:
                self._queue.get()()
            except Exception:  # noqa: BLE001 - the thread must survive
                traceback.print_exc()
