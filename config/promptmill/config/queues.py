"""Queues, task names and Celery options. All processes on a broker share them."""

import ssl
from typing import Any, NamedTuple

from promptmill.config.settings import Settings

INGEST = "promptmill.ingest"
WORK = "promptmill.work"
JOBS = "promptmill.jobs"
POLL = "promptmill.poll"
ALL_QUEUES = (INGEST, WORK, JOBS, POLL)

PUBLIC_TASK_QUEUES = {"promptmill.submit_prompts": INGEST}
"""Public tasks and their queues. docs/guides/celery.md describes their arguments."""

TASK_QUEUES = {
    "promptmill.ingest": INGEST,
    "promptmill.abort": INGEST,
    "promptmill.pool": INGEST,
    "promptmill.cut": INGEST,
    "promptmill.plan": WORK,
    "promptmill.shard": WORK,
    "promptmill.submit": JOBS,
    "promptmill.poll": POLL,
    "promptmill.cancel": JOBS,
    "promptmill.collect": WORK,
    "promptmill.parse": WORK,
    "promptmill.settle": WORK,
    "promptmill.deliver": WORK,
    "promptmill.harvest": WORK,
    "promptmill.finish": WORK,
    "promptmill.callback": WORK,
    "promptmill.reconcile": POLL,
    **PUBLIC_TASK_QUEUES,
}
"""Queue of every task.

``submit`` and ``poll`` have their own queues because only they import the Vertex
client, the largest import. ``ingest`` has its own queue so that a large run does not
delay the results of other runs. ``reconcile`` shares the queue of ``poll``, which is
never busy for long.
"""

TIME_LIMIT = 540
"""Seconds after which a task is killed: ten times the longest step."""

# With Celery's default keys, our short visibility timeout would redeliver messages of
# other Celery apps on this Redis. Those apps do not renew theirs.
_UNACKED_KEYS = {
    "unacked_key": "promptmill.unacked",
    "unacked_index_key": "promptmill.unacked_index",
    "unacked_mutex_key": "promptmill.unacked_mutex",
}


class TakeoverTimes(NamedTuple):
    """Times, in seconds, that decide when the work of a dead worker is taken over."""

    visibility_timeout: float
    """Time until Redis redelivers a message.

    It can be shorter than a task: a live worker renews its messages. See
    ``promptmill.workers.runtime.message_leases``.
    """
    restore_interval: float
    """Time between two checks for such messages."""
    step_lease: float
    """Time until a step counts as dead after its lease was last renewed."""
    start_timeout: float
    """Time in which a worker must start a step after fetching it."""


def takeover_times(settings: Settings) -> TakeoverTimes:
    """Derive the times from the setting ``takeover_seconds``."""
    total_seconds = settings.takeover_seconds
    return TakeoverTimes(
        visibility_timeout=total_seconds * 4 / 5,
        restore_interval=total_seconds / 6,
        step_lease=total_seconds * 2 / 3,
        start_timeout=total_seconds / 2,
    )


def celery_options(settings: Settings, broker: str = "") -> dict[str, Any]:
    """Return the Celery configuration of apps on Promptmill's broker, or on ``broker``.

    kombu checks for lost messages every ``unacked_restore_interval`` ×
    ``unacked_restore_throttle`` seconds, by default every 100. Apps that share a record
    of unacknowledged messages all get the shortest visibility timeout.
    """
    takeover = takeover_times(settings)
    return {
        **_broker_options(broker or settings.broker_url.get_secret_value()),
        "broker_transport_options": _transport_options(takeover),
        "visibility_timeout": takeover.visibility_timeout,
        "accept_content": ["json", "msgpack"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_routes": {task: {"queue": queue} for task, queue in TASK_QUEUES.items()},
        "task_default_queue": WORK,
        "task_create_missing_queues": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_time_limit": TIME_LIMIT,
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        # A process killed by Celery looks like a crash of its step, and may be creating
        # a job. Steps are idempotent, so they finish instead.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        **_beat_options(settings.reconcile_interval),
    }


def _broker_options(broker: str) -> dict[str, object]:
    uses_tls = broker.startswith("rediss://")
    return {
        "broker_url": broker,
        # In Celery, the variable CELERY_BROKER_URL overrides broker_url, but not these.
        "broker_read_url": broker,
        "broker_write_url": broker,
        # Without this, kombu does not verify the server's certificate.
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if uses_tls else False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
    }


def _transport_options(takeover: TakeoverTimes) -> dict[str, object]:
    return {
        **_UNACKED_KEYS,
        "visibility_timeout": takeover.visibility_timeout,
        "unacked_restore_interval": takeover.restore_interval,
        "unacked_restore_throttle": 1,
        "socket_keepalive": True,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
        "queue_order_strategy": "round_robin",
    }


def _beat_options(reconcile_interval: float) -> dict[str, object]:
    reconcile = {
        "task": "promptmill.reconcile",
        "schedule": reconcile_interval,
        "options": {"expires": reconcile_interval},
    }
    return {
        "beat_schedule": {"reconcile": reconcile},
        "beat_max_loop_interval": min(5.0, reconcile_interval),
    }
