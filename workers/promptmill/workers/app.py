"""The Celery app of the workers."""

import importlib
from collections.abc import Callable
from typing import NoReturn, Protocol

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


class _Worker(Protocol):
    """The part of Celery's worker that is used here."""

    app: Celery


def make_app(settings: Settings, build_services: Callable[[Settings], Services]) -> Celery:
    """Make the app. ``build_services`` runs at the first task of each process."""
    app = Celery(
        "promptmill", include=["promptmill.workers.tasks", "promptmill.workers.public_tasks"]
    )
    app.config_from_object(queues.celery_options(settings))
    services = PerProcessServices(lambda: build_services(settings))
    app.services = services  # type: ignore[attr-defined]
    _shorten_exit_wait()
    _send_heartbeats_once()
    app.steps["consumer"].update({MessageLeases, PollRevival})
    _connect_signals(settings)
    return app


def _connect_signals(settings: Settings) -> None:
    def configure_logging(**_: object) -> None:
        logs.configure_logging(settings)
        refused_messages.redact_refusals()

    def check_safety(**_: object) -> None:
        _exit_if_unsafe(settings)

    signals.setup_logging.connect(configure_logging, weak=False)
    signals.celeryd_init.connect(check_safety, weak=False)
    signals.beat_init.connect(check_safety, weak=False)
    signals.celeryd_after_setup.connect(_load_clients, weak=False)


# An exiting pool process waits for the worker to read its messages: 1 s instead of 30 s
# (billiard 4.2, Worker._ensure_messages_consumed). A stopping worker may join the process
# without reading them. The last tasks of the process are then not acknowledged, and run again.
def _shorten_exit_wait() -> None:
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 10


# Celery 5.6 retries a heartbeat until Redis is back. The retries block the loop that
# reconnects and handles shutdown.
def _send_heartbeats_once() -> None:
    heartbeat.Heart._send.__defaults__ = (False,)  # type: ignore[attr-defined]


def _exit_if_unsafe(settings: Settings) -> None:
    """End the process if its Redis is open to everyone, and refuse compressed messages.

    Raises SystemExit, since Celery only logs the errors of signal handlers. kombu decompresses
    whole messages before it checks their content type. Promptmill compresses the payload
    inside a message, never the message.
    """
    try:
        settings.refuse_insecure_redis()
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from None
    for encoding in compression.encoders():
        compression.register(_refuse_compressed, _refuse_compressed, encoding)


def _refuse_compressed(_: bytes) -> NoReturn:
    raise ContentDisallowed("compressed messages are refused")


# Runs before the worker forks. The first job does not wait for the import, and the children
# share its memory. Each child builds its own clients.
def _load_clients(instance: "_Worker", **_: object) -> None:
    """Import the client libraries that the worker's queues need."""
    importlib.import_module("promptmill.workers.adapters.storage")
    if {queues.JOBS, queues.POLL} & instance.app.amqp.queues.keys():
        importlib.import_module("promptmill.workers.adapters.vertex")
