"""The base class of all tasks: enqueues next steps, retries, and parks steps that keep failing."""

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
"""Back-off while a step has many unfinished executions, and live duplicates cannot yet be
distinguished from crashes."""
_DUPLICATE_WAIT_SECONDS = 5.0
"""Seconds after which a duplicate delivery checks again whether another execution is running."""
_NEWER_VERSION_WAIT = Wait(30.0)
"""Back-off for a message of a later version, until a newer worker takes it."""
_FAILURE_WAIT = Wait(60.0)
"""Back-off after an error that is not known to be transient."""


class PipelineTask(Task):  # type: ignore[type-arg]
    """A task of the pipeline. Transient errors are retried indefinitely, at most 30 s apart."""

    abstract = True
    Request = "promptmill.workers.runtime.task_request:RedactedRequest"
    carries_payload = False
    """Whether the message carries data that exists nowhere else, so no sweep can send it again."""
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
        """The dispatcher, which enqueues steps."""
        return Dispatcher(
            self.app, self.services.leases, queues.takeover_times(self.services.settings)
        )

    @property
    def step_id(self) -> str:
        """The id of the current step, in leases and dead letters."""
        return self.request.id or self.name

    def send_steps(self, steps: Iterable[Step]) -> None:
        """Enqueue steps."""
        self.dispatcher.enqueue_steps(steps)

    def retry_later(self, pause: Wait, args: tuple[object, ...] | None = None) -> NoReturn:
        """Run this task again after a pause, with new ``args`` if given. Not a failure."""
        raise self.retry(args=args, countdown=max(pause.seconds, 0.05))

    def retry(self, *args: Any, **options: Any) -> Any:
        """Requeue the message if the retry cannot be published.

        Celery would drop it, and the chunk with it. Waits at least as long as the service asked.
        """
        if isinstance(error := options.get("exc"), Transient):
            options["countdown"] = max(options.get("countdown") or 0.0, error.retry_after)
        try:
            return super().retry(*args, **options)
        except Reject as unsent:
            raise Reject(unsent.args[0], requeue=True) from unsent

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        """Run the step under a lease. Parks it if too many workers crashed while it ran."""
        step = self.step_id
        lease = self.dispatcher.create_lease(step)
        lease_state = lease.acquire(dead_letters.MAX_CRASHES)
        if lease_state.crashes >= dead_letters.MAX_CRASHES:
            self._park_crashing_step(step, args, lease_state.crashes)
            return None
        if lease_state.busy_seconds:
            self.retry_later(Wait(min(lease_state.busy_seconds, _DUPLICATE_WAIT_SECONDS)))
        if lease_state.crashes + lease_state.live >= dead_letters.MAX_CRASHES:
            self.retry_later(_UNCLEAR_BACKOFF)
        with lease.keep_alive():
            return self._run_step(lease, step, args, kwargs)

    def _park_crashing_step(self, step: str, args: tuple[object, ...], crashes: int) -> None:
        try:
            self._park_step(step, args, f"the worker died {crashes} times while it ran this step")
        except Transient:
            self.retry_later(_UNCLEAR_BACKOFF)

    def _run_step(
        self, lease: Lease, step: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        """Run the step, and retain its lease until a retry so that no sweep sends it again."""
        try:
            return super().__call__(*args, **kwargs)
        except Retry as retry_request:
            self._retain_lease(lease, step, retry_request)
            raise
        except Reject:
            raise
        except NewerVersion as error:
            _log.warning("step_needs_newer_worker", step=step, error=str(error))
            lease.retain_for(_NEWER_VERSION_WAIT.seconds)
            self.retry_later(_NEWER_VERSION_WAIT)
        except Exception as error:
            lease.retain_for(_FAILURE_WAIT.seconds)
            is_parked = self._count_failure(step, args, error)
            if not is_parked and self._must_keep_message(args, error):
                _log.error("step_failed", step=step, error=type(error).__name__)
                self.retry_later(_FAILURE_WAIT)
            raise

    def _retain_lease(self, lease: Lease, step: str, retry_request: Retry) -> None:
        seconds = retry_request.when
        lease.retain_for(seconds if isinstance(seconds, int | float) else 0.0)
        if isinstance(retry_request.exc, Denied):
            self._report_error(step, retry_request.exc)

    def _must_keep_message(self, args: tuple[object, ...], error: Exception) -> bool:
        is_final = isinstance(error, Permanent | MessageRefused)
        return self.carries_payload and not is_final and self._has_valid_arguments(args)

    def _has_valid_arguments(self, args: tuple[object, ...]) -> bool:
        """Whether the arguments fit this task. A foreign message carries nothing to keep."""
        try:
            inspect.signature(self.run).bind(*args)
        except TypeError:
            return False
        return True

    def _count_failure(self, step: str, args: tuple[object, ...], error: Exception) -> bool:
        """Count a failure. Returns whether the step is parked now."""
        self._report_error(step, error)
        if isinstance(error, MessageRefused):
            _log.warning("step_message_refused", step=step, error=str(error))
        with suppress(PromptmillError):
            if self.services.leases.count_failure(step) >= dead_letters.MAX_FAILURES:
                self._park_step(step, args, _error_text(error))
                return True
        return False

    def _report_error(self, step: str, error: Exception) -> None:
        run = step.partition(".")[0]
        with suppress(Transient):
            self.services.index.record_error(run, f"{step}: {_error_text(error)}")

    def _park_step(self, step: str, args: tuple[object, ...], reason: str) -> None:
        dead_letters.park_task(self.services.bucket, step, self.name, list(args), reason)
        _log.error("step_parked", step=step, reason=reason)

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """Send a message that shows the task's id in place of its arguments.

        Set for every message: Celery drops ``argsrepr`` in a retry.
        """
        options["argsrepr"] = f"({task_id})" if task_id else "()"
        options["kwargsrepr"] = "{}"
        return super().apply_async(args, kwargs, task_id=task_id, **options)


def _error_text(error: Exception) -> str:
    """Return a text that is safe to log: errors of other libraries may quote their input."""
    return str(error)[:500] if isinstance(error, PromptmillError) else type(error).__name__
