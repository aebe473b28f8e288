"""Queues, task names and Celery's options, the same in every process on one broker."""

import ssl
from typing import Any, NamedTuple

from promptmill.config.settings import Settings

INGEST = "promptmill.ingest"
WORK = "promptmill.work"
JOBS = "promptmill.jobs"
POLL = "promptmill.poll"
ALL_QUEUES = (INGEST, WORK, JOBS, POLL)

PUBLIC_TASK_QUEUES = {"promptmill.submit_prompts": INGEST}
"""Tasks that any Celery app may send, and callbacks too, and their queues: docs/guides/celery.md has what they take."""

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
"""Queue of every task. ``submit`` and ``poll`` have queues of their own because only they need the Vertex client,
the largest import; ``ingest`` because a large run must not keep finished work of others waiting; ``reconcile`` shares the
queue of ``poll``, which is never busy for long, so that it comes when all other workers are."""

TIME_LIMIT = 540
"""Seconds after which a task that hangs is killed; ten times the longest step."""


class TakeoverTimes(NamedTuple):
    """In seconds, how soon others take over what a dead worker was at."""

    visibility_timeout: float
    """Until Redis hands its messages to another. A live worker renews what it holds (``workers.leases``), so this may be
    shorter than a task or a countdown."""
    restore_interval: float
    """Between two looks for such messages."""
    step_lease: float
    """Until a step is taken for dead whose worker stopped to renew its note."""
    start_timeout: float
    """That a worker may take to begin a step that it has fetched."""


def takeover_times(settings: Settings) -> TakeoverTimes:
    """Derive all of them from the one setting: a message is found at the first look after its time."""
    total_seconds = settings.takeover_seconds
    return TakeoverTimes(
        visibility_timeout=total_seconds * 4 / 5,
        restore_interval=total_seconds / 6,
        step_lease=total_seconds * 2 / 3,
        start_timeout=total_seconds / 2,
    )


def celery_options(settings: Settings, broker: str = "") -> dict[str, Any]:
    """Return the Celery configuration of every app on the broker, or of one that sends to another.

    kombu looks for lost messages each ``unacked_restore_interval`` × ``unacked_restore_throttle`` seconds, by default
    only every 100; and the shortest visibility timeout of all that share one record of lost messages wins.
    """
    takeover = takeover_times(settings)
    transport_options = {
        "visibility_timeout": takeover.visibility_timeout,
        "unacked_restore_interval": takeover.restore_interval,
        "unacked_restore_throttle": 1,
        # Other apps on this Redis look after messages of their own: our short time-out must not have theirs run twice, which
        # nobody renews.
        "unacked_key": "promptmill.unacked",
        "unacked_index_key": "promptmill.unacked_index",
        "unacked_mutex_key": "promptmill.unacked_mutex",
        "socket_keepalive": True,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
        "queue_order_strategy": "round_robin",
    }
    broker = broker or settings.broker_url.get_secret_value()
    return {
        "broker_url": broker,
        # Celery lets the variable CELERY_BROKER_URL win over broker_url, but over neither of these.
        "broker_read_url": broker,
        "broker_write_url": broker,
        # kombu takes rediss:// without more for "encrypt, but talk to anybody".
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED}
        if broker.startswith("rediss://")
        else False,
        "broker_transport_options": transport_options,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
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
        # A process that Celery kills in the middle of its step looks like one that the step has killed, and may have been
        # creating a job. What it does is done twice instead, which every step bears.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "beat_schedule": {
            "reconcile": {
                "task": "promptmill.reconcile",
                "schedule": settings.reconcile_interval,
                "options": {"expires": settings.reconcile_interval},
            }
        },
        "beat_max_loop_interval": min(5.0, settings.reconcile_interval),
    }
