"""The Celery app of the workers."""

import importlib
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
    signals.celeryd_after_setup.connect(_load_clients, weak=False)
    return app


def _load_clients(instance: Any, **_: Any) -> None:
    """Import what the worker's queues need before its children are forked: the first job does not wait for it, and the
    children share its memory. Clients themselves are built in each child.
    """
    importlib.import_module("promptmill.workers.adapters.storage")
    if {queues.JOBS, queues.POLL} & instance.app.amqp.queues.keys():
        importlib.import_module("promptmill.workers.adapters.vertex")
