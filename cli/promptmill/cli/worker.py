"""``promptmill worker``."""

import os
from typing import Annotated

import typer

from promptmill.cli import processes
from promptmill.cli.help_text import add_help

Queues = Annotated[
    str,
    typer.Option(metavar="NAME[,NAME...]", help="Queues: ingest, work, jobs, poll. Default: all."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Concurrent tasks. Default: number of CPUs."),
]
Pool = Annotated[str, typer.Option(metavar="POOL", help="Celery pool: prefork, threads or solo.")]
Name = Annotated[
    str,
    typer.Option(metavar="NAME", help="Prefix of the node name. Default: worker or poll."),
]


@add_help(
    """
    Other options are passed on to `celery worker`.

    \b
    Examples:
      promptmill worker
      promptmill worker --queues poll
      promptmill worker --queues ingest,work,jobs --concurrency 8
    """
)
def worker(
    ctx: typer.Context,
    queues: Queues = "",
    concurrency: Concurrency = None,
    pool: Pool = "prefork",
    name: Name = "",
) -> None:
    """Run a Celery worker."""
    settings = processes.load_process_settings("worker", *processes.WORKER_MODULES)
    celery_options = worker_arguments(
        _parse_queues_option(queues), concurrency, pool, name, settings.log_level
    )
    processes.replace_process([*processes.celery_command(), *celery_options, *ctx.args])


# Mingle and gossip are disabled. They delay the start and send many messages, for features
# that Promptmill does not use. The node name contains the process id: nodes with the same
# name would answer for each other.
def worker_arguments(
    queues: list[str],
    concurrency: int | None,
    pool: str,
    name: str,
    log_level: str,
    pid: int | None = None,
) -> list[str]:
    """Return the arguments of ``celery worker``."""
    only_polls = [queue.rpartition(".")[2] for queue in queues] == ["poll"]
    node = f"{name or ('poll' if only_polls else 'worker')}-{pid or os.getpid()}@%h"
    slots = concurrency or (1 if only_polls else None)
    return [
        *("worker", "-n", node, "-Q", ",".join(queues), "--pool", pool, "--loglevel", log_level),
        *("-E", "--without-mingle", "--without-gossip"),
        *(("--concurrency", str(slots)) if slots else ()),
    ]


def parse_queues(text: str) -> list[str]:
    """Return the queues of a comma-separated list; their prefix is optional.

    An empty list means all queues. Raises ValueError for an unknown queue.
    """
    from promptmill.config import queues

    by_short_name = {queue.removeprefix("promptmill."): queue for queue in queues.ALL_QUEUES}
    short_names = [
        name.strip().removeprefix("promptmill.") for name in text.split(",") if name.strip()
    ]
    if unknown := [name for name in short_names if name not in by_short_name]:
        raise ValueError(f"unknown queue {unknown[0]!r}; use {', '.join(by_short_name)}")
    return [by_short_name[name] for name in dict.fromkeys(short_names)] or list(queues.ALL_QUEUES)


def _parse_queues_option(text: str) -> list[str]:
    try:
        return parse_queues(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--queues") from None
