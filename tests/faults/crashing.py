"""Worker processes that record each of their effects, and crash at a chosen one.

An effect is a change that others can see: a written object, a call that changes Vertex, a sent
task, a write to Redis, or rows in a sink. The worker is the real app with wrapped services.
"""

import gc
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import redis

from faults.effects import kind_of_object
from promptmill.config import queues
from promptmill.config.settings import Settings, load_settings
from promptmill.producers.contract.messages import Manifest, SinkSpec
from promptmill.producers.contract.run_index import RunIndex
from promptmill.producers.pools import PoolQueue
from promptmill.workers import services
from promptmill.workers.app import make_app
from promptmill.workers.coordination.alarm_counts import AlarmCounts
from promptmill.workers.coordination.claims import Claims
from promptmill.workers.coordination.joins import Joins
from promptmill.workers.coordination.open_jobs import OpenJobs
from promptmill.workers.coordination.pool_sizes import PoolSizes
from promptmill.workers.coordination.step_leases import StepLeases
from promptmill.workers.ports.database import Database
from promptmill.workers.ports.google import BatchJobs, Bucket, CallbackBroker
from promptmill.workers.ports.warehouse import Warehouse
from promptmill.workers.ports.web import WebClient
from promptmill.workers.services import Services
from promptmill.workers.sinks import Sink
from promptmill.workers.sinks.context import Connectors
from support.waiting import wait_until

When = Literal["before", "after"]
Pool = Literal["solo", "prefork"]
Deed = Literal["die", "die whole", "stop", "wait", "wipe"]
STRUCK = "struck"
"""The line in a journal that records that the chosen moment has come."""
READS = frozenset(
    {
        "url",
        "name",
        "read",
        "read_range",
        "read_each",
        "find",
        "list",
        "exists",
        "get",
        "queued_seconds_left",
        "server_time",
        "list_jobs",
        "list_slots",
        "acquire",
    }
    | {
        "describe_table",
        "can_create_temp_tables",
        "count_rows",
        "count",
        "begin",
        "set_savepoint",
        "rollback_to_savepoint",
        "close",
        "connect",
        "is_stalled",
    }
    | {
        "get_batch_sizes",
        "size",
        "find_pooled_run",
        "reset_wakeup",
        "count_calls",
        "memory_size",
        "iter_calls",
    }
    | {
        "get_columns",
        "test_permissions",
        "get_job_state",
        "check_job_access",
        "stream_rows",
        "count_waiting",
    }
    | {
        "waiting",
        "check_connection",
        "get_stored_chunks",
        "count_sealed_chunks",
        "find_manifest",
        "get_status",
        "list_runs",
    }
)
"""Methods without an effect. Every other public method has one, including new methods."""


@dataclass(frozen=True)
class Crash:
    """A fault right before or after the `nth` effect of this kind.

    The process or the whole worker dies, the worker stops or waits, or Redis is wiped.
    """

    effect: str
    when: When
    nth: int = 1
    deed: Deed = "die"

    def __str__(self) -> str:
        return f"{self.when} {self.effect} #{self.nth}" + (
            f", {self.deed}" if self.deed != "die" else ""
        )


@dataclass(frozen=True)
class Plan:
    """The environment, files and crash of one worker process."""

    environment: Mapping[str, str]
    journal: Path
    log: Path
    crash: Crash | None = None
    copies: int = 1
    """How often each new task is sent."""
    fast: float = 0.0
    """Seconds by which its clock is fast."""
    pool: Pool = "solo"

    @property
    def sent(self) -> Path:
        """The file of the tasks that it sends: name, arguments and id as JSON, one a line."""
        return self.journal.with_name("sent")


@dataclass
class Journal:
    """Records effects in order, one a line, and triggers the fault at the chosen one."""

    path: Path
    crash: Crash | None
    pool: Pool = "solo"
    had: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lines = self.path.open(
            "a", buffering=1
        )  # at once, as a worker may run out of file descriptors

    def watch(self, effect: str, act: Callable[[], Any]) -> Any:
        """Record an effect, with the fault before or after it."""
        self.had[effect] += 1
        self._strike("before", effect)
        result = act()
        self._write(effect)
        self._strike("after", effect)
        return result

    def _strike(self, when: When, effect: str) -> None:
        if not self.crash or (effect, when, self.had[effect]) != (
            self.crash.effect,
            self.crash.when,
            self.crash.nth,
        ):
            return
        match self.crash.deed:
            case "wipe":
                with redis.Redis.from_url(os.environ["CELERY_BROKER_URL"]) as client:
                    client.flushdb()
                self._write(STRUCK)
            case "wait":
                wait_until(self.path.with_name("go on").exists, "leave to go on")
            case "stop":
                self._write(STRUCK)
                os.kill(self._worker(), signal.SIGTERM)
            case "die" if self._is_first():
                os.kill(os.getpid(), signal.SIGKILL)
            case "die whole" if self._is_first():
                os.killpg(0, signal.SIGKILL)

    def _is_first(self) -> bool:
        """Return whether this is the first crash; other processes of a pool follow."""
        if self.pool == "prefork" and STRUCK in self.path.read_text().splitlines():
            return False
        self._write(STRUCK)
        return True

    def _worker(self) -> int:
        return os.getppid() if self.pool == "prefork" else os.getpid()

    def _write(self, line: str) -> None:
        self._lines.write(line + "\n")


def work(plan: Plan) -> None:
    """Run a worker until it is killed."""
    os.setpgid(0, 0)
    gc.freeze()  # else the first collection would copy all memory shared by the fork
    os.environ.update(plan.environment)
    _write_to(plan.log)
    _set_clock(plan.fast)
    journal = Journal(plan.journal, plan.crash, plan.pool)
    _watch_moves(journal)
    app = make_app(load_settings(), lambda settings: _watched(settings, journal))
    app.send_task = _sender(app.send_task, plan, journal)  # type: ignore[method-assign]
    node = ["-n", f"{plan.log.stem}-{os.getpid()}@%h", "-Q", ",".join(queues.ALL_QUEUES)]
    pool = ["--pool", plan.pool, "--concurrency", "2"]
    app.worker_main(
        ["worker", *node, *pool, "--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    )


def _watch_moves(journal: Journal) -> None:
    """Record every move of a file of a local sink; a crash before it is amid a write."""

    def heed(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and (moved := _moved(Path(os.fsdecode(arguments[1])))):
            journal.watch(f"move {moved}", lambda: None)

    sys.addaudithook(heed)


def _moved(to: Path) -> str:
    if ".done-" in to.name:
        return "folder of parts"
    return (
        "part"
        if to.parent.name.startswith(".")
        else "whole file"
        if to.suffix in {".jsonl", ".parquet"}
        else ""
    )


def _sender(send: Callable[..., Any], plan: Plan, journal: Journal) -> Callable[..., Any]:
    known: set[str] = set()
    lines = plan.sent.open("a", buffering=1)

    def send_task(
        name: str, args: Any = None, *more: Any, task_id: str = "", **options: Any
    ) -> Any:
        lines.write(json.dumps([name, list(args or ()), task_id], default=repr) + "\n")
        # A copy of what a copy sends would be sent twice too, and so on: thousands in the end.
        copies = 1 if task_id in known else plan.copies
        known.add(task_id)
        for _ in range(copies):
            sent = journal.watch(
                f"send {name}", lambda: send(name, args, *more, task_id=task_id, **options)
            )
        return sent  # pyright: ignore[reportPossiblyUnboundVariable]

    return send_task


def _write_to(log: Path) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(out, stream.fileno())


def _set_clock(fast: float) -> None:
    right = time.time
    if fast:
        time.time = lambda: right() + fast


State = TypeVar("State")


class _Watched(Services):
    """The services of a worker; each effect is recorded."""

    journal: Journal

    @cached_property
    def index(self) -> RunIndex:
        """The run index, watched."""
        watched: Any = _Effects(super().index, self.journal, lambda *_: "index")
        return watched  # type: ignore[no-any-return]

    @cached_property
    def leases(self) -> StepLeases:
        """The leases, watched."""
        return self._watch_state(super().leases)

    @cached_property
    def open_jobs(self) -> OpenJobs:
        """The open jobs, watched."""
        return self._watch_state(super().open_jobs)

    @cached_property
    def joins(self) -> Joins:
        """The joins, watched."""
        return self._watch_state(super().joins)

    @cached_property
    def claims(self) -> Claims:
        """The claims, watched."""
        return self._watch_state(super().claims)

    @cached_property
    def pool_sizes(self) -> PoolSizes:
        """The sizes of batches, watched."""
        return self._watch_state(super().pool_sizes)

    @cached_property
    def alarm_counts(self) -> AlarmCounts:
        """The counts of alarms, watched."""
        return self._watch_state(super().alarm_counts)

    def _watch_state(self, real: State) -> State:
        watched: Any = _Effects(real, self.journal, lambda *_: "note")
        return watched  # type: ignore[no-any-return]

    @cached_property
    def pending_calls(self) -> PoolQueue:
        """What was collected, watched."""
        watched: Any = _Effects(super().pending_calls, self.journal, lambda *_: "collected")
        return watched  # type: ignore[no-any-return]

    def open_sink(self, spec: SinkSpec, run: str, manifest: Manifest | None = None) -> Sink:
        """Open a sink that is watched."""
        watched: Any = _Effects(
            super().open_sink(spec, run, manifest), self.journal, lambda *_: spec.kind
        )
        return watched  # type: ignore[no-any-return]


def _watched(settings: Settings, journal: Journal) -> Services:
    real = services.build_services(settings)

    def open_bucket(url: str) -> Bucket:
        bucket: Any = _Effects(real.open_bucket(url), journal, kind_of_object)
        return bucket  # type: ignore[no-any-return]

    def open_jobs() -> BatchJobs:
        jobs: Any = _Effects(real.open_batch_jobs(), journal, lambda *_: "job")
        return jobs  # type: ignore[no-any-return]

    def open_database(url: str, name: str) -> Database:
        database: Any = _Effects(
            real.connectors.open_database(url, name), journal, lambda *_: "database"
        )
        return database  # type: ignore[no-any-return]

    def open_web() -> WebClient:
        web: Any = _Effects(real.connectors.open_web(), journal, lambda *_: "web")
        return web  # type: ignore[no-any-return]

    def open_warehouse() -> Warehouse:
        warehouse: Any = _Effects(real.connectors.open_warehouse(), journal, lambda *_: "table")
        return warehouse  # type: ignore[no-any-return]

    def open_caller() -> CallbackBroker:
        caller: Any = _Effects(
            real.connectors.open_callback_broker(), journal, lambda *_: "callback"
        )
        return caller  # type: ignore[no-any-return]

    ways = Connectors(open_database, open_web, open_warehouse, open_caller)
    watched = _Watched(real.settings, real.connection, open_bucket, open_jobs, ways)
    object.__setattr__(watched, "journal", journal)
    return watched


class _Effects:
    """A proxy whose methods have effects, except READS; `name` names the affected object."""

    def __init__(self, real: Any, journal: Journal, name: Callable[..., str]) -> None:
        self._real, self._journal, self._name = real, journal, name

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._real, method)
        if method in READS or method.startswith("_"):
            return found

        def act(*args: Any, **kwargs: Any) -> Any:
            effect = f"{method} {self._name(*args)}"
            return self._journal.watch(effect, lambda: found(*args, **kwargs))

        return act
