"""The steps of the pipeline: each does one thing to one run, shard or part, and says what comes next.

No step knows Celery, Redis or Google. Each may run twice, late, or beside its twin: what it writes is written once, or
is the same every time.
"""

from promptmill.workers.steps import (
    callback,
    cancel,
    collect,
    cut,
    deliver,
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
