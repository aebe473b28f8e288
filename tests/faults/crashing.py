"""Workers in processes of their own that note every effect they have on the world, and die at one of them if asked.

An effect is whatever others can see: an object written or deleted, a call to Vertex that changes something, a task sent,
a note in Redis, rows handed to a sink. The worker is the product's own: its app, with its services wrapped.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import redis

from deadline import until
from faults.effects import kind_of_object
from promptmill.config import queues
from promptmill.config.settings import Settings, load
from promptmill.producers.messages import SinkSpec
from promptmill.workers import services
from promptmill.workers.app import make_app
from promptmill.workers.ports import BatchJobs, Bucket
from promptmill.workers.services import Services
from promptmill.workers.sinks import Sink

When = Literal["before", "after"]
WIPED = "wiped"
"""What a journal says when Redis was wiped."""


@dataclass(frozen=True)
class Crash:
    """What happens right before or after the `nth` effect of this kind that a worker has: it dies, Redis is wiped, or it
    waits until its mill is told to go on."""

    effect: str
    when: When
    nth: int = 1
    deed: Literal["die", "wipe", "wait"] = "die"

    def __str__(self) -> str:
        return f"{self.when} {self.effect} #{self.nth}"


@dataclass(frozen=True)
class Plan:
    """What one worker process does: its environment, where it notes effects and logs, and when it dies."""

    environment: Mapping[str, str]
    journal: Path
    log: Path
    crash: Crash | None = None
    copies: int = 1
    """How often every task is sent that is not yet known."""
    fast: float = 0.0
    """How many seconds its clock is fast."""

    @property
    def sent(self) -> Path:
        """Where it notes every task that it sends: name, arguments and id, a line of JSON each."""
        return self.journal.with_name("sent")


@dataclass
class Journal:
    """Notes effects in order, a line each, and dies at the one that is asked for."""

    path: Path
    crash: Crash | None
    had: Counter[str] = field(default_factory=Counter)

    def watch(self, effect: str, act: Callable[[], Any]) -> Any:
        """Have an effect, unless death comes before it."""
        self.had[effect] += 1
        self._strike("before", effect)
        result = act()
        self._write(effect)
        self._strike("after", effect)
        return result

    def _strike(self, when: When, effect: str) -> None:
        if not self.crash or (effect, when, self.had[effect]) != (self.crash.effect, self.crash.when, self.crash.nth):
            return
        if self.crash.deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.crash.deed == "wait":
            until(self.path.with_name("go on").exists, 600, "leave to go on")
            return
        with redis.Redis.from_url(os.environ["CELERY_BROKER_URL"]) as client:
            client.flushdb()
        self._write(WIPED)

    def _write(self, line: str) -> None:
        with self.path.open("a") as lines:
            lines.write(line + "\n")


def work(plan: Plan) -> None:
    """Be a worker until killed."""
    os.environ.update(plan.environment)
    _write_to(plan.log)
    _set_clock(plan.fast)
    journal = Journal(plan.journal, plan.crash)
    app = make_app(load(), lambda settings: _watched(settings, journal))
    app.send_task = _sender(app.send_task, plan, journal)  # type: ignore[method-assign]
    node = ["-n", f"{plan.log.stem}-{os.getpid()}@%h", "-Q", ",".join(queues.ALL)]
    app.worker_main(["worker", *node, "--pool", "solo", "--without-mingle", "--without-gossip", "--loglevel", "INFO"])


def _sender(send: Callable[..., Any], plan: Plan, journal: Journal) -> Callable[..., Any]:
    known: set[str] = set()

    def send_task(name: str, args: Any = None, *more: Any, task_id: str = "", **options: Any) -> Any:
        with plan.sent.open("a") as lines:
            lines.write(json.dumps([name, list(args or ()), task_id], default=repr) + "\n")
        # A copy of what a copy sends would be sent twice too, and so on: thousands in the end.
        copies = 1 if task_id in known else plan.copies
        known.add(task_id)
        for _ in range(copies):
            sent = journal.watch(f"send {name}", lambda: send(name, args, *more, task_id=task_id, **options))
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


class _Watched(Services):
    """The services of a worker, with every effect noted."""

    journal: Journal

    def open_sink(self, spec: SinkSpec, run: str) -> Sink:
        """Open a sink that is watched."""
        sink: Any = super().open_sink(spec, run)
        watched: Any = _Effects(sink, self.journal, {name: lambda *_: "sink" for name in ("deliver", "finish")})
        return watched  # type: ignore[no-any-return]


def _watched(settings: Settings, journal: Journal) -> Services:
    real = services.build(settings)

    def open_bucket(url: str) -> Bucket:
        writing = ("create", "write", "write_stream", "replace", "delete")
        bucket: Any = _Effects(real.open_bucket(url), journal, dict.fromkeys(writing, kind_of_object))
        return bucket  # type: ignore[no-any-return]

    def open_jobs() -> BatchJobs:
        jobs: Any = _Effects(real.open_jobs(), journal, {name: lambda *_: "job" for name in ("create", "cancel")})
        return jobs  # type: ignore[no-any-return]

    noting = ("tally", "begin", "end", "claim", "add_job", "remove_job", "take_poll", "end_poll")
    notes: Any = _Effects(real.notes, journal, {name: lambda *_: "note" for name in noting})
    watched = _Watched(real.settings, real.index, notes, open_bucket, open_jobs)
    object.__setattr__(watched, "journal", journal)
    return watched


class _Effects:
    """Something whose methods of these names have effects; each names what is affected from the arguments."""

    def __init__(self, real: Any, journal: Journal, effects: Mapping[str, Callable[..., str]]) -> None:
        self._real, self._journal, self._effects = real, journal, effects

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in self._effects:
            return found

        def act(*args: Any, **kwargs: Any) -> Any:
            effect = f"{name} {self._effects[name](*args)}"
            return self._journal.watch(effect, lambda: found(*args, **kwargs))

        return act
