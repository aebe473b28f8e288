"""The steps of the pipeline. Each does one thing to a run, a shard or a part.

No step knows Celery, Redis or Google. Every step is idempotent: it may run twice, late, or
concurrently with a duplicate delivery. It writes an object once, or the same bytes again.
"""

from promptmill.workers.steps import (
    callback,
    cancel,
    collect,
    cut,
    deliver,
    endpoints,
    finish,
    harvest,
    ingest,
    parse,
    plan,
    poll,
    pool,
    settle,
    shard,
    submit,
    tables,
)

__all__ = [
    "callback",
    "cancel",
    "collect",
    "cut",
    "deliver",
    "endpoints",
    "finish",
    "harvest",
    "ingest",
    "parse",
    "plan",
    "poll",
    "pool",
    "settle",
    "shard",
    "submit",
    "tables",
]
