"""The base of all tasks: services, sending what comes next, waiting, and what people see of a task."""

from collections.abc import Iterable
from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Retry

from promptmill.config.errors import Transient
from promptmill.workers.flow import Flow
from promptmill.workers.services import Services
from promptmill.workers.steps.step import Step, Wait


class Stage(Task):  # type: ignore[type-arg]
    """A task of the pipeline. A Transient error is tried again, for ever, at most 30 s apart, with jitter."""

    abstract = True
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
        return Flow(self.app, self.services.notes)

    def send(self, steps: Iterable[Step]) -> None:
        """Send what comes next."""
        self.flow.enqueue(steps)

    def wait(self, pause: Wait) -> NoReturn:
        """Run this task again after a pause; that is not a failure."""
        raise self.retry(countdown=max(pause.seconds, 0.05))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run, keeping note that this step is being worked on."""
        flow, step = self.flow, self.request.id or self.name
        with flow.under_way(step) as note:
            try:
                return super().__call__(*args, **kwargs)
            except Retry as later:
                note.keep(later.when if isinstance(later.when, int | float) else 0.0)
                raise
            except Exception:
                note.keep(60.0)
                raise

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """Send, showing people the id in place of the arguments; Celery forgets ``argsrepr`` at a retry."""
        options["argsrepr"] = f"({task_id})" if task_id else "()"
        options["kwargsrepr"] = "{}"
        return super().apply_async(args, kwargs, task_id=task_id, **options)
