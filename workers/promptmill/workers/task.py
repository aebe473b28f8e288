"""The base of all tasks: services, sending what comes next, waiting, and what people see of a task."""

import inspect
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn

import structlog
from celery import Task
from celery.exceptions import Reject, Retry

from promptmill.config import queues
from promptmill.config.errors import (
    Denied,
    MessageRefused,
    NewerVersion,
    Permanent,
    PromptmillError,
    Transient,
)
from promptmill.workers.dispatch import Dispatcher, Lease
from promptmill.workers.facts import dead_letters
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.services import Services

_log = structlog.get_logger(__name__)
_UNCLEAR_BACKOFF = Wait(30.0)
"""Until it is clear which starts of a step that was begun often live, as copies of one message do, and which are deaths."""
_DUPLICATE_WAIT_SECONDS = 5.0
"""Seconds after which a copy of a message looks again whether another start of its step is at work."""
_NEWER_VERSION_WAIT = Wait(30.0)
"""How long a message of a later version is put back for: a newer worker is on its way, or one that is here may take it."""
_FAILURE_WAIT = Wait(60.0)
"""After which a step that failed in a way that is not known to pass is tried again, by a sweep or by itself."""


class PipelineTask(Task):  # type: ignore[type-arg]
    """A task of the pipeline. A Transient error is tried again, for ever, at most 30 s apart, with jitter."""

    abstract = True
    Request = "promptmill.workers.runtime.task_request:RedactedRequest"
    carries_payload = False
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
    def dispatcher(self) -> Dispatcher:
        """Sends steps."""
        return Dispatcher(
            self.app, self.services.leases, queues.takeover_times(self.services.settings)
        )

    @property
    def step_id(self) -> str:
        """What the step at hand is called in notes and as a dead letter."""
        return self.request.id or self.name

    def send_steps(self, steps: Iterable[Step]) -> None:
        """Send what comes next."""
        self.dispatcher.enqueue_steps(steps)

    def retry_later(self, pause: Wait, args: tuple[Any, ...] | None = None) -> NoReturn:
        """Run this task again after a pause, with other arguments if any are given; that is not a failure."""
        raise self.retry(args=args, countdown=max(pause.seconds, 0.05))

    def retry(self, *args: Any, **options: Any) -> Any:
        """Put the message back when the next try cannot be sent: Celery would throw it away, and a chunk with it.

        Who said when to come back is not asked before.
        """
        if isinstance(error := options.get("exc"), Transient):
            options["countdown"] = max(options.get("countdown") or 0.0, error.retry_after)
        try:
            return super().retry(*args, **options)
        except Reject as unsent:
            raise Reject(unsent.args[0], requeue=True) from unsent

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, keeping note that this step is being worked on; park it if it took too many workers with it."""
        step = self.step_id
        lease = self.dispatcher.create_lease(step)
        lease_state = lease.acquire(dead_letters.MAX_CRASHES)
        if lease_state.crashes >= dead_letters.MAX_CRASHES:
            self._park_crashing_step(step, list(args), lease_state.crashes)
            return None
        if lease_state.busy_seconds:
            self.retry_later(Wait(min(lease_state.busy_seconds, _DUPLICATE_WAIT_SECONDS)))
        if lease_state.crashes + lease_state.live >= dead_letters.MAX_CRASHES:
            self.retry_later(_UNCLEAR_BACKOFF)
        with lease.keep_alive():
            return self._run_step(lease, step, args, kwargs)

    def _park_crashing_step(self, step: str, args: list[Any], crashes: int) -> None:
        try:
            self._park_step(step, args, f"poison: its worker died {crashes} times while it ran")
        except Transient:
            self.retry_later(_UNCLEAR_BACKOFF)

    def _run_step(
        self, lease: Lease, step: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except Retry as retry_request:
            lease.retain_for(
                retry_request.when if isinstance(retry_request.when, int | float) else 0.0
            )
            if isinstance(retry_request.exc, Denied):
                self._report_error(step, retry_request.exc)
            raise
        except Reject:
            raise
        except NewerVersion as error:
            _log.warning("step_needs_newer_worker", step=step, error=str(error))
            lease.retain_for(_NEWER_VERSION_WAIT.seconds)
            self.retry_later(_NEWER_VERSION_WAIT)
        except Exception as error:
            lease.retain_for(_FAILURE_WAIT.seconds)
            is_parked = self._count_failure(step, list(args), error)
            if (
                self.carries_payload
                and not is_parked
                and not isinstance(error, Permanent | MessageRefused)
                and self._has_valid_arguments(args)
            ):
                _log.error("step_failed", step=step, error=type(error).__name__)
                self.retry_later(_FAILURE_WAIT)
            raise

    def _has_valid_arguments(self, args: tuple[Any, ...]) -> bool:
        """Whether a message has the arguments of this task at all; only one of ours holds anything to keep."""
        try:
            inspect.signature(self.run).bind(*args)
        except TypeError:
            return False
        return True

    def _count_failure(self, step: str, args: list[Any], error: Exception) -> bool:
        """Count a failure; whether it is one too many, and the step is parked."""
        self._report_error(step, error)
        with suppress(PromptmillError):
            if self.services.leases.count_failure(step) >= dead_letters.MAX_FAILURES:
                self._park_step(step, args, _error_text(error))
                return True
        return False

    def _report_error(self, step: str, error: Exception) -> None:
        """Let people see what is wrong with their run."""
        with suppress(Transient):
            self.services.index.record_error(
                step.partition(".")[0], f"{step}: {_error_text(error)}"
            )

    def _park_step(self, step: str, args: list[Any], reason: str) -> None:
        dead_letters.park_task(self.services.bucket, step, self.name, args, reason)
        _log.error("step_parked", step=step, reason=reason)

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """Send, showing people the id in place of the arguments; Celery forgets ``argsrepr`` at a retry."""
        options["argsrepr"] = f"({task_id})" if task_id else "()"
        options["kwargsrepr"] = "{}"
        return super().apply_async(args, kwargs, task_id=task_id, **options)


def _error_text(error: Exception) -> str:
    """What may be said of an error: those of others may quote what they were given."""
    return str(error)[:500] if isinstance(error, PromptmillError) else type(error).__name__
