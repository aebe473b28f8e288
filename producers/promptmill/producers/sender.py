"""Sends messages to the workers through Celery, with backpressure."""

import time
from functools import cached_property
from typing import Any

import structlog

from promptmill.config import queues
from promptmill.config.errors import Transient
from promptmill.config.settings import Settings
from promptmill.config.urls import mask_password
from promptmill.producers import pools
from promptmill.producers.contract import messages
from promptmill.producers.contract.connection import Connection
from promptmill.producers.contract.messages import Chunk, Ingest, Manifest, PooledCall, Seal

_log = structlog.get_logger(__name__)
_WARN_AFTER = 30.0
_RETRY_POLICY = {"max_retries": 3, "interval_start": 0.2, "interval_step": 0.5, "interval_max": 2}


class Sender:
    """Sends messages to the workers. Every method raises Transient without a broker."""

    def __init__(self, settings: Settings, broker: Connection | None = None) -> None:
        self._settings = settings
        self._broker = broker or Connection(settings.broker_url.get_secret_value())
        self._unchecked_bytes = 0

    @cached_property
    def _pool_queue(self) -> pools.PoolQueue:
        return pools.open_pool_queue(self._settings)

    @cached_property
    def _celery_app(self) -> Any:
        from celery import Celery

        app = Celery("promptmill-producer", set_as_current=False)
        app.config_from_object(queues.celery_options(self._settings))
        return app

    def send_chunk(self, manifest: Manifest, chunk: Chunk, seal: Seal | None) -> None:
        """Send one chunk, after waiting while the ingest queue is full."""
        body = messages.encode_message(Ingest(manifest, messages.encode_message(chunk), seal))
        self._wait_for_capacity(len(body))
        task_id = f"{manifest.run}.c{chunk.index:05d}.ingest"
        self._send_task("promptmill.ingest", [body], task_id, "msgpack")

    def enqueue_prompts(self, pooled: PooledCall) -> None:
        """Add the prompts of one call to the pool queue; raises Transient if it is
        full.
        """
        if self._pool_queue.memory_size() > self._settings.max_queued_bytes:
            raise Transient(
                "the pool queue is full; check that a worker of the ingest queue is running"
            )
        if self._pool_queue.add_call(messages.encode_message(pooled), pools.hash_content(pooled)):
            self._send_task("promptmill.pool", [], f"pool-{pooled.id}", "json")

    def abort_run(self, run: str, reason: str) -> None:
        """Notify the workers that a run stays incomplete."""
        self._send_task("promptmill.abort", [run, reason], f"{run}.abort", "json")

    def cancel_run(self, run: str) -> None:
        """Request the cancellation of a run."""
        self._send_task("promptmill.cancel", [run], f"{run}.cancel", "json")

    def _send_task(self, task: str, args: list[object], task_id: str, serializer: str) -> None:
        import kombu.exceptions

        try:
            self._celery_app.send_task(
                task,
                args=args,
                task_id=task_id,
                serializer=serializer,
                argsrepr=f"({task_id})",
                retry_policy=_RETRY_POLICY,
            )
        except (kombu.exceptions.OperationalError, OSError) as error:
            raise self._broker_error(error) from error

    def _broker_error(self, error: Exception) -> Transient:
        broker = mask_password(self._settings.broker_url.get_secret_value())
        return Transient(f"the broker {broker} (CELERY_BROKER_URL) cannot be reached: {error}")

    def _wait_for_capacity(self, size: int) -> None:
        """Check the queue size after every eighth of its limit, and wait while it is
        over.
        """
        limit = self._settings.max_queued_bytes
        self._unchecked_bytes += size
        if self._unchecked_bytes < limit // 8:
            return
        self._unchecked_bytes = 0
        self._wait_for_drain(limit)

    def _wait_for_drain(self, limit: int) -> None:
        started = time.monotonic()
        has_warned = False
        while self._queued_bytes() > limit:
            if not has_warned and time.monotonic() - started > _WARN_AFTER:
                _log.warning(
                    "queue_full",
                    hint="check that a worker of the ingest queue is running",
                    queue=queues.INGEST,
                )
                has_warned = True
            time.sleep(0.05)

    def _queued_bytes(self) -> int:
        """Return the approximate size of the queue in bytes."""
        with self._broker.use_client() as r:
            return int(r.memory_usage(queues.INGEST, samples=5) or 0)
