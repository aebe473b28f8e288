"""Many small mills beside each other on one Redis, one storage and one emulator, with workers that tests own.

Each has a Redis database and a folder of the bucket for itself, so that no fault of one is felt by another. Its workers are
forked from a process that has imported everything, or starting them would take most of the time.
"""

import multiprocessing
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
import redis
from celery import Celery

from faults.crashing import STRUCK, Crash, Plan, Pool, work
from faults.invariants import observe, violations
from faults.turns import BESIDE, Turns
from promptmill.config.errors import PromptmillError
from promptmill.config.queues import POLL
from promptmill.producers import Promptmill, Result, Run
from promptmill.producers.contract import sink_specs
from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.adapters.storage import open_bucket
from support.local_stack import MODEL, LocalStack, read_results, surroundings
from support.proxy import HttpProxy
from support.waiting import PATIENCE, wait_until

DATABASES = 16
BEAT = 2.0
"""Seconds between two sweeps, which are most of what a small mill does."""
LOOK = 1.0
"""Seconds between two looks for the end of a run: each is a call to storage, beside which a dozen mills are at work."""
AT_THE_END = 5.0
"""Seconds in which a worker does what is left to do when its run has ended."""
BUCKET = "gs://promptmill-local"
QUICK = {
    "PROMPTMILL_MODEL": MODEL,
    "PROMPTMILL_POLL_INTERVAL": "0.5",
    "PROMPTMILL_RECONCILE_INTERVAL": "1",
    "PROMPTMILL_TAKEOVER_SECONDS": "9",
    "PROMPTMILL_CREATION_VISIBILITY_SECONDS": "3",
    "PROMPTMILL_MAX_CREATES_PER_MINUTE": "6000",
    "PROMPTMILL_CHUNK_BYTES": "16384",
    "PROMPTMILL_MAX_REQUESTS_PER_JOB": "5",
    "PROMPTMILL_PART_BYTES": "16384",
    "PROMPTMILL_SINKS": "/,gs://,bq://,postgresql://,http://",
}
"""Settings with which ten requests make two chunks, two shards and several parts of each."""

_TESTS = Path(__file__).parents[1]
_PRELOADED = [
    "faults.crashing",
    *(f"promptmill.workers.{name}" for name in ("tasks", "public_tasks")),
    *(
        f"promptmill.workers.adapters.{name}"
        for name in ("storage", "vertex", "bigquery", "postgres", "web", "calls")
    ),
    *(f"celery.{name}" for name in ("bin.celery", "apps.worker", "worker.consumer")),
    *(f"celery.concurrency.{name}" for name in ("solo", "prefork")),
    *(f"celery.app.{name}" for name in ("amqp", "control", "events", "log")),
    "kombu.transport.redis",
    "genai_prices.data",
    "jsonschema_rs",
]
_forks = multiprocessing.get_context("forkserver")

Place = TypeVar("Place")
Found = TypeVar("Found")


@dataclass
class WorkerGroups:
    """Hands out mills, at most one for each Redis database at a time."""

    stack: LocalStack
    directory: Path
    turns: Turns
    databases: "queue.Queue[int]" = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        for number in range(1, DATABASES):  # the first is that of workers which are no mill's
            self.databases.put(number)
        _forks.set_forkserver_preload(_PRELOADED)
        with surroundings(
            {"PYTHONPATH": str(_TESTS)}
        ):  # which is all that a fork server looks at before 3.13
            forkserver.ensure_running()

    def sweep(self, work: Callable[[Place], Found], places: Iterable[Place]) -> list[Found]:
        """Do some work at each place, many beside each other, be they of this sweep or of another on this machine."""

        def in_turn(place: Place) -> Found:
            with self.turns.one():
                return work(place)

        with ThreadPoolExecutor(BESIDE) as threads:
            return list(threads.map(in_turn, places))

    @contextmanager
    def create_group(
        self, name: str, settings: Mapping[str, str] | None = None
    ) -> Iterator["WorkerGroup"]:
        """A mill with nothing in it, that is reconciled all the time, as by beat; afterwards its workers are killed."""
        folder = self.directory / name
        folder.mkdir(parents=True)
        with self._database() as broker:
            own = {
                "CELERY_BROKER_URL": broker,
                "PROMPTMILL_REDIS_URL": broker,
                "PROMPTMILL_BUCKET": f"{BUCKET}/{name}",
            }
            group = WorkerGroup(
                self.stack,
                folder,
                name,
                self.stack.environment | QUICK | own | dict(settings or {}),
            )
            try:
                with group.beat():
                    yield group
            finally:
                group.kill()
                group.redis.flushdb()
                group.redis.close()

    @contextmanager
    def _database(self) -> Iterator[str]:
        """The URL of a Redis database that nobody else has."""
        number = self.databases.get()
        try:
            yield self.stack.environment["CELERY_BROKER_URL"].removesuffix("/0") + f"/{number}"
        finally:
            self.databases.put(number)


@dataclass
class WorkerGroup:
    """One small mill; `environment` is that of its workers."""

    stack: LocalStack
    folder: Path
    name: str
    environment: dict[str, str]
    processes: list[BaseProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis = redis.Redis.from_url(self.environment["CELERY_BROKER_URL"])
        url, bucket = self.environment["CELERY_BROKER_URL"], self.environment["PROMPTMILL_BUCKET"]
        limits = {"chunk_bytes": int(self.environment["PROMPTMILL_CHUNK_BYTES"])}
        self.bucket = open_bucket(bucket)
        self.client = Promptmill(
            broker_url=url, redis_url=url, bucket=bucket, model=MODEL, **limits
        )

    @property
    def journal(self) -> Path:
        """Where its workers note their effects, a line each."""
        return self.folder / "journal"

    def journal_lines(self) -> list[str]:
        """The effects of its workers so far, in order."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    @property
    def answers(self) -> Path:
        """The local file that is one of its sinks."""
        return self.folder / "answers.jsonl"

    @property
    def sinks(self) -> list[SinkSpec]:
        """A sink of each kind."""
        return [sink_specs.jsonl(self.answers), sink_specs.jsonl(f"{BUCKET}/{self.name}-answers")]

    def work(
        self, crash: Crash | None = None, *, copies: int = 1, fast: float = 0.0, pool: Pool = "solo"
    ) -> BaseProcess:
        """Start a worker, which may have a moment of death, send every task several times, or have a wrong clock."""
        log = self.folder / f"worker{len(self.processes)}.log"
        plan = Plan(self.environment, self.journal, log, crash, copies, fast, pool)
        process = _forks.Process(target=work, args=(plan,), daemon=True)
        process.start()
        self.processes.append(process)
        return process

    def revive(self) -> None:
        """Start a worker if none is alive, as a supervisor does again and again: one that is ending is still alive."""
        if not any(process.is_alive() for process in self.processes):
            self.work()

    def kill(self) -> None:
        """Kill all workers that are left, and what is left of their pools."""
        for process in self.processes:
            assert process.pid
            if process.exitcode is None or not psutil.pid_exists(
                process.pid
            ):  # else the number is another's by now
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()

    def submit(self, requests: int | Iterable[int] = 10, **options: Any) -> Run:
        """Submit so many requests, or those with these numbers, as a run; to both sinks unless others are named.

        A request is long enough for several chunks.
        """
        numbers = range(1, requests + 1) if isinstance(requests, int) else requests
        prompts = (f"Say {number}: {'word ' * 500}" for number in numbers)
        return self.client.submit(prompts, sinks=options.pop("sinks", self.sinks), **options)

    def ended(self, run: Run) -> bool:
        """Whether the run is through for good, by the facts: it is reported, and off the list of open runs."""
        return self.holds(f"runs/{run.id}/report.json") and not self.holds(f"open/{run.id}")

    def holds(self, name: str) -> bool:
        """Whether an object is in the mill's folder of the bucket."""
        return self.bucket.find(name) is not None

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `promptmill` as a person of this mill does."""
        command = [sys.executable, "-m", "promptmill.cli", *arguments]
        environment = os.environ | self.environment
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def read_cli(self, *arguments: str) -> str:
        """Return what `promptmill` prints to stdout. If it fails, the test fails with its stderr."""
        done = self.cli(*arguments)
        assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
        return done.stdout

    def parked(self) -> list[str]:
        """The steps that are parked as dead letters."""
        return [stored.name for stored in self.bucket.list("dead/")]

    def strikes(self, run: Run, what: str) -> bool:
        """Wait for the moment of a crash; False when the run ended without it.

        What depends on time need not be in every run. An AssertionError tells ``what`` did not come.
        """
        wait_until(lambda: self._has_struck() or self.ended(run), what)
        with suppress(AssertionError):
            wait_until(self._has_struck, what, seconds=AT_THE_END)
        return self._has_struck()

    def _has_struck(self) -> bool:
        return STRUCK in self.journal_lines()

    def wait(self, run: Run, *, reviving: bool = False) -> None:
        """Wait for the end of a run by the facts; an AssertionError tells its status, and the end of the workers' logs."""
        deadline = time.monotonic() + PATIENCE
        while not self.ended(run):
            if reviving:
                self.revive()
            assert time.monotonic() < deadline, (
                f"no end of {self.name} in {PATIENCE:g} s: {self._story(run)}"
            )
            time.sleep(LOOK)

    def violations(self, run: Run, requests: int = 10) -> list[str]:
        """What is wrong with a run that has ended."""
        folder = f"{BUCKET}/{self.name}-answers"
        rows = {"the file": read_results(self.answers), "the folder": rows_in(folder, run)}
        return violations(observe(run, map(str, range(1, requests + 1)), self.stack.jobs, rows))

    @contextmanager
    def beat(self) -> Iterator[None]:
        """Send `reconcile` every few seconds, as beat does."""
        stop = threading.Event()
        beat = threading.Thread(target=self._beat, args=(stop,))
        beat.start()
        try:
            yield
        finally:
            stop.set()
            beat.join()

    def _beat(self, stop: threading.Event) -> None:
        with Celery(broker=self.environment["CELERY_BROKER_URL"], set_as_current=False) as sender:
            while not stop.wait(BEAT):
                with suppress(OSError, Exception):
                    sender.send_task("promptmill.reconcile", queue=POLL, expires=BEAT)

    def log(self) -> str:
        """What its workers have logged so far."""
        return "".join(log.read_text() for log in sorted(self.folder.glob("*.log")))

    def tries_again(self, steps: str, why: str) -> bool:
        """Whether a worker has said that it tries one of these steps again, and why; both are regular expressions.

        A step that just waits for its time, as a look at a job does, says so without a reason.
        """
        return bool(re.search(rf"Task promptmill\.({steps})\[.* retry: .*({why})", self.log()))

    def _story(self, run: Run) -> str:
        try:
            status = str(run.status)
        except PromptmillError as error:
            status = str(error)
        logs = [log.read_text()[-1500:] for log in sorted(self.folder.glob("*.log"))]
        return "\n".join([status, *logs])


def behind(proxy: HttpProxy) -> dict[str, str]:
    """The settings of a mill whose workers reach storage through the proxy."""
    return {"STORAGE_EMULATOR_HOST": proxy.url}


def rows_in(folder: str, run: Run) -> list[Result]:
    """The rows of a run in a sink in a bucket."""
    bucket = open_bucket(folder)
    lines = [
        line for stored in bucket.list(run.id) for line in bucket.read(stored.name).splitlines()
    ]
    return [msgspec.json.decode(line, type=Result) for line in lines]
