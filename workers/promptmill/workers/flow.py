"""Puts steps into Celery, and keeps note of those under way so that a sweep does not send them again."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from promptmill.config import queues
from promptmill.config.errors import Transient
from promptmill.workers.notes import Notes
from promptmill.workers.steps.step import Step

_QUEUED = 600.0
"""Seconds for which a step in a queue is not sent again by a sweep, the broker's own visibility timeout."""
_RUNNING = 20.0
"""Seconds after which a step whose worker stopped to renew its note is taken for dead."""


class Flow:
    """Enqueues steps of the pipeline."""

    def __init__(self, app: Any, notes: Notes) -> None:
        self._app = app
        self._notes = notes

    def enqueue(self, steps: Iterable[Step]) -> None:
        """Send steps; a step that is sent twice runs twice, and must bear it."""
        for step in steps:
            task = f"promptmill.{step.task}"
            self._app.send_task(
                task,
                args=[step.run, *step.place],
                task_id=step.id,
                queue=queues.QUEUE_OF[task],
            )
            self._notes.hold(step.id, _QUEUED)

    def enqueue_poll(self, chain: str) -> None:
        """Send the first look of a chain of polls."""
        self._app.send_task("promptmill.poll", args=[chain], task_id=f"{chain}.poll", queue=queues.POLL)

    def enqueue_stalled(self, steps: Iterable[Step]) -> list[Step]:
        """Send those steps that nobody is known to be at, and return them."""
        stalled = [step for step in steps if self._notes.claim(step.id, _QUEUED)]
        self.enqueue(stalled)
        return stalled

    @contextmanager
    def under_way(self, step: str) -> Iterator["Note"]:
        """Keep a note that a step is being worked on, renewed until it is done or the process is dead."""
        note = Note(self._notes, step)
        note.start()
        try:
            yield note
        finally:
            note.stop()


class Note:
    """That a step is being worked on."""

    def __init__(self, notes: Notes, step: str) -> None:
        self._notes = notes
        self._step = step
        self._done = threading.Event()
        self._keep = 0.0
        self._renewal = threading.Thread(target=self._renew, daemon=True)

    def start(self) -> None:
        """Write the note, and renew it from now on."""
        with suppress(Transient):
            self._notes.hold(self._step, _RUNNING)
        self._renewal.start()

    def keep(self, seconds: float) -> None:
        """Let the note stand so long after the work, for a step that comes back by itself."""
        self._keep = seconds + _RUNNING

    def stop(self) -> None:
        """Stop renewing, and take the note away."""
        self._done.set()
        self._renewal.join()
        with suppress(Transient):
            if self._keep:
                self._notes.hold(self._step, self._keep)
            else:
                self._notes.release(self._step)

    def _renew(self) -> None:
        while not self._done.wait(_RUNNING / 4):
            with suppress(Transient):
                self._notes.hold(self._step, _RUNNING)
