"""Threads that do the work of jobs, in the order in which the jobs were created."""

import queue
import threading
import traceback
from collections.abc import Callable

WORKER_COUNT = 4


class Workers:
    """A few daemon threads: the process may end at any time, the work is done anew after a restart."""

    def __init__(self, size: int = WORKER_COUNT) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        for number in range(size):
            threading.Thread(target=self._run_loop, name=f"job-{number}", daemon=True).start()

    def submit(self, work: Callable[[], None]) -> None:
        """Do it as soon as a thread is free; an error of it is printed and forgotten."""
        self._queue.put(work)

    def _run_loop(self) -> None:
        while True:
            try:
                self._queue.get()()
            except Exception:  # noqa: BLE001 - the thread is needed for the next job
                traceback.print_exc()
