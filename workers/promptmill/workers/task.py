"""The base of all tasks: services, sending what comes next, waiting, and what people see of a task."""

import inspect
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn

import structlog
from celery import Task
from celery.exceptions import Reject, Retry

from promptmill.config import queues
from promptmill.config.errors import Denied, MessageRefused, NewerVersion, Permanent, PromptmillError, Transient
from promptmill.workers.dispatch import Flow, Note
from promptmill.workers.facts import dead_letters
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.services import Services

_log = structlog.get_logger(__name__)
_UNCLEAR = Wait(30.0)
"""Until it is clear which starts of a step that was begun often live, as copies of one message do, and which are deaths."""
_TWIN = 5.0
"""Seconds after which a copy of a message looks again whether another start of its step is at work."""
_NEWER = Wait(30.0)
"""How long a message of a later version is put back for: a newer worker is on its way, or one that is here may take it."""
_AGAIN = Wait(60.0)
"""After which a step that failed in a way that is not known to pass is tried again, by a sweep or by itself."""


class Stage(Task):  # type: ignore[type-arg]
    """A task of the pipeline. A Transient error is tried again, for ever, at most 30 s apart, with jitter."""

    abstract = True
    Request = "promptmill.workers.runtime.task_request:Discreet"
    is_carrier = False
    """Whether its message has what is nowhere else, so that no sweep could send it again."""
    max_retries = None
    autoretry_for = (Transient,)
    retry_backoff = 1
    retry_backoff_max = 30
    retry_jitter = True

    @property
    def services(self) -> Services:
        """This process's services."""
        services: Services = self.app.services()  # type: ignore[attr-defined]
        return services

    @property
    def flow(self) -> Flow:
        """Sends steps."""
        return Flow(self.app, self.services.notes, queues.takeover(self.services.settings))

    @property
    def step_id(self) -> str:
        """What the step at hand is called in notes and as a dead letter."""
        return self.request.id or self.name

    def send(self, steps: Iterable[Step]) -> None:
        """Send what comes next."""
        self.flow.enqueue(steps)

    def wait(self, pause: Wait, args: tuple[Any, ...] | None = None) -> NoReturn:
        """Run this task again after a pause, with other arguments if any are given; that is not a failure."""
        raise self.retry(args=args, countdown=max(pause.seconds, 0.05))

    def retry(self, *args: Any, **options: Any) -> Any:
        """Put the message back when the next try cannot be sent: Celery would throw it away, and a chunk with it.

        Who said when to come back is not asked before.
        """
        if isinstance(error := options.get("exc"), Transient):
            options["countdown"] = max(options.get("countdown") or 0.0, error.after)
        try:
            return super().retry(*args, **options)
        except Reject as unsent:
            raise Reject(unsent.args[0], requeue=True) from unsent

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, keeping note that this step is being worked on; park it if it took too many workers with it."""
        step = self.step_id
        note = self.flow.note(step)
        starts = note.begin(dead_letters.MOST_DEATHS)
        if starts.deaths >= dead_letters.MOST_DEATHS:
            self._park_poison(step, list(args), starts.deaths)
            return None
        if starts.busy:
            self.wait(Wait(min(starts.busy, _TWIN)))
        if starts.deaths + starts.living >= dead_letters.MOST_DEATHS:
            self.wait(_UNCLEAR)
        with note.renewed():
            return self._work(note, step, args, kwargs)

    def _park_poison(self, step: str, args: list[Any], deaths: int) -> None:
        try:
            self._park(step, args, f"poison: its worker died {deaths} times while it ran")
        except Transient:
            self.wait(_UNCLEAR)

    def _work(self, note: Note, step: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except Retry as later:
            note.keep(later.when if isinstance(later.when, int | float) else 0.0)
            if isinstance(later.exc, Denied):
                self._tell(step, later.exc)
            raise
        except Reject:
            raise
        except NewerVersion as error:
            _log.warning("left to a newer worker", step=step, error=str(error))
            note.keep(_NEWER.seconds)
            self.wait(_NEWER)
        except Exception as error:
            note.keep(_AGAIN.seconds)
            is_parked = self._count_failure(step, list(args), error)
            if (
                self.is_carrier
                and not is_parked
                and not isinstance(error, Permanent | MessageRefused)
                and self._fits(args)
            ):
                _log.error("failed, and is tried again", step=step, error=type(error).__name__)
                self.wait(_AGAIN)
            raise

    def _fits(self, args: tuple[Any, ...]) -> bool:
        """Whether a message has the arguments of this task at all; only one of ours holds anything to keep."""
        try:
            inspect.signature(self.run).bind(*args)
        except TypeError:
            return False
        return True

    def _count_failure(self, step: str, args: list[Any], error: Exception) -> bool:
        """Count a failure; whether it is one too many, and the step is parked."""
        self._tell(step, error)
        with suppress(PromptmillError):
            if self.services.notes.fail(step) >= dead_letters.MOST_FAILURES:
                self._park(step, args, _words(error))
                return True
        return False

    def _tell(self, step: str, error: Exception) -> None:
        """Let people see what is wrong with their run."""
        with suppress(Transient):
            self.services.index.note_error(step.partition(".")[0], f"{step}: {_words(error)}")

    def _park(self, step: str, args: list[Any], reason: str) -> None:
        dead_letters.park(self.services.bucket, step, self.name, args, reason)
        _log.error("parked as a dead letter", step=step, reason=reason)

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """Send, showing people the id in place of the arguments; Celery forgets ``argsrepr`` at a retry."""
        options["argsrepr"] = f"({task_id})" if task_id else "()"
        options["kwargsrepr"] = "{}"
        return super().apply_async(args, kwargs, task_id=task_id, **options)


def _words(error: Exception) -> str:
    """What may be said of an error: those of others may quote what they were given."""
    return str(error)[:500] if isinstance(error, PromptmillError) else type(error).__name__
