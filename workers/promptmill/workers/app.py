"""The Celery app of the workers."""

import importlib
from collections.abc import Callable
from typing import Any, NoReturn

from billiard import pool
from celery import Celery, signals
from celery.worker import heartbeat
from kombu import compression
from kombu.exceptions import ContentDisallowed

from promptmill.config import logs, queues
from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings
from promptmill.workers.runtime import refused_messages
from promptmill.workers.runtime.message_leases import MessageLeases
from promptmill.workers.services import PerProcessServices, Services
from promptmill.workers.supervision.poll_revival import PollRevival


def make_app(settings: Settings, build_services: Callable[[Settings], Services]) -> Celery:
    """Make the app; ``build_services`` makes the services at the first task of each process."""
    app = Celery(
        "promptmill", include=["promptmill.workers.tasks", "promptmill.workers.public_tasks"]
    )
    app.config_from_object(queues.celery_options(settings))
    app.services = PerProcessServices(lambda: build_services(settings))  # type: ignore[attr-defined]

    def configure_logging(**_: Any) -> None:
        logs.configure_logging(settings)
        refused_messages.redact_refusals()

    _shorten_exit_wait()
    _send_heartbeats_once()
    app.steps["consumer"].update({MessageLeases, PollRevival})
    signals.setup_logging.connect(configure_logging, weak=False)

    def check_safety(**_: Any) -> None:
        _exit_if_unsafe(settings)

    signals.celeryd_init.connect(check_safety, weak=False)
    signals.beat_init.connect(check_safety, weak=False)
    signals.celeryd_after_setup.connect(_load_clients, weak=False)
    return app


def _shorten_exit_wait() -> None:
    """Let the processes of a pool that exit wait for one second, not thirty, until the worker has read all they said.

    A worker that is told to stop may join them without reading further (billiard 4.2, ``Worker._ensure_messages_consumed``).
    Their last tasks are then not acknowledged, and done once more.
    """
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 10


def _send_heartbeats_once() -> None:
    """Let a worker try once to send each heartbeat: Celery 5.6 tries until Redis is back.

    It does so in the loop in which the worker would connect again, and hear that it is to stop.
    """
    heartbeat.Heart._send.__defaults__ = (False,)  # type: ignore[attr-defined]


def _exit_if_unsafe(settings: Settings) -> None:
    """End the process when everybody could send it work, and let it unpack nothing before it looks at it.

    Celery only logs errors of those who hear its signals. kombu decompresses any message whose header says so, in full
    and before its content type is looked at; ours are compressed within.
    """
    try:
        settings.refuse_insecure_redis()
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from None
    for encoding in compression.encoders():
        compression.register(_refuse_compressed, _refuse_compressed, encoding)


def _refuse_compressed(_: bytes) -> NoReturn:
    raise ContentDisallowed("compressed messages are refused")


def _load_clients(instance: Any, **_: Any) -> None:
    """Import what the worker's queues need before its children are forked: the first job does not wait for it, and the
    children share its memory. Clients themselves are built in each child.
    """
    importlib.import_module("promptmill.workers.adapters.storage")
    if {queues.JOBS, queues.POLL} & instance.app.amqp.queues.keys():
        importlib.import_module("promptmill.workers.adapters.vertex")
