"""The Celery app of the workers."""

from collections.abc import Callable
from typing import Any

from celery import Celery, signals

from promptmill.config import logs, queues
from promptmill.config.settings import Settings
from promptmill.workers.services import PerProcess, Services


def make_app(settings: Settings, build: Callable[[Settings], Services]) -> Celery:
    """Make the app; ``build`` makes the services at the first task of each process."""
    app = Celery("promptmill", include=["promptmill.workers.tasks"])
    app.config_from_object(queues.options(settings))
    app.services = PerProcess(lambda: build(settings))  # type: ignore[attr-defined]

    def configure_logging(**_: Any) -> None:
        logs.configure(settings)

    signals.setup_logging.connect(configure_logging, weak=False)
    return app
