"""Groups of workers that share one Redis, one storage and one emulator.

Each group has its own Redis database and folder of the bucket, so that its faults affect no
other group. Workers are forked from a process that has imported everything, which makes
their start fast.
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
"""Seconds between two sweeps, which are most of the work of a small group."""
LOOK = 1.0
"""Seconds between two checks for the end of a run; each is a call to storage."""
AT_THE_END = 5.0
"""Seconds that a worker has for its last effects after its run has ended."""
BUCKET = "gs://promptmill-local"
QUICK = {
    "PROMPTMILL_MODEL": MODEL,
    "PROMPTMILL_POLL_INTERVAL": "0.5",
    "PROMPTMILL_RECONCILE_INTERVAL": "1",
    "PROMPTMILL_RETRY_DELAY_SECONDS": "1",
    "PROMPTMILL_TAKEOVER_SECONDS": "9",
    "PROMPTMILL_CREATION_VISIBILITY_SECONDS": "3",
    "PROMPTMILL_MAX_CREATES_PER_MINUTE": "6000",
    "PROMPTMILL_CHUNK_BYTES": "16384",
    "PROMPTMILL_MAX_REQUESTS_PER_JOB": "5",
    "PROMPTMILL_PART_BYTES": "16384",
    "PROMPTMILL_SINKS": "/,gs://,bq://,postgresql://,http://",
}
"""Settings that make two chunks and two shards of several parts from ten requests."""

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
    """Creates groups, at most one for each Redis database at a time."""

    stack: LocalStack
    directory: Path
    turns: Turns
    databases: "queue.Queue[int]" = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        for number in range(1, DATABASES):  # the first belongs to workers outside of groups
            self.databases.put(number)
        _forks.set_forkserver_preload(_PRELOADED)
        with surroundings(
            {"PYTHONPATH": str(_TESTS)}
        ):  # which is all that a fork server looks at before 3.13
            forkserver.ensure_running()

    def sweep(self, work: Callable[[Place], Found], places: Iterable[Place]) -> list[Found]:
        """Do some work for each place concurrently, within the limit of the machine."""

        def in_turn(place: Place) -> Found:
            with self.turns.one():
                return work(place)

        with ThreadPoolExecutor(BESIDE) as threads:
            return list(threads.map(in_turn, places))

    @contextmanager
    def create_group(
        self, name: str, settings: Mapping[str, str] | None = None
    ) -> Iterator["WorkerGroup"]:
        """Create an empty group with periodic sweeps; kill its workers when the block ends."""
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
        """Hold a Redis database, and yield its URL."""
        number = self.databases.get()
        try:
            yield self.stack.environment["CELERY_BROKER_URL"].removesuffix("/0") + f"/{number}"
        finally:
            self.databases.put(number)


@dataclass
class WorkerGroup:
    """Workers on one Redis database and one folder. ``environment`` is that of the workers."""

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
        """The file in which its workers record their effects, one a line."""
        return self.folder / "journal"

    def journal_lines(self) -> list[str]:
        """Return the effects of its workers so far, in order."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    @property
    def answers(self) -> Path:
        """The local file of one of its sinks."""
        return self.folder / "answers.jsonl"

    @property
    def sinks(self) -> list[SinkSpec]:
        """A sink of each kind."""
        return [sink_specs.jsonl(self.answers), sink_specs.jsonl(f"{BUCKET}/{self.name}-answers")]

    def work(
        self, crash: Crash | None = None, *, copies: int = 1, fast: float = 0.0, pool: Pool = "solo"
    ) -> BaseProcess:
        """Start a worker, optionally with a crash, duplicate sends or a fast clock."""
        log = self.folder / f"worker{len(self.processes)}.log"
        plan = Plan(self.environment, self.journal, log, crash, copies, fast, pool)
        process = _forks.Process(target=work, args=(plan,), daemon=True)
        process.start()
        self.processes.append(process)
        return process

    def revive(self) -> None:
        """Start a worker if none is alive, as a supervisor does."""
        if not any(process.is_alive() for process in self.processes):
            self.work()

    def kill(self) -> None:
        """Kill all remaining workers and their pools."""
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
        """Submit a number of requests, or those with these numbers, as a run.

        Results go to both sinks by default. Requests are long enough for several chunks.
        """
        numbers = range(1, requests + 1) if isinstance(requests, int) else requests
        prompts = (f"Say {number}: {'word ' * 500}" for number in numbers)
        return self.client.submit(prompts, sinks=options.pop("sinks", self.sinks), **options)

    def ended(self, run: Run) -> bool:
        """Return whether the run has a report and is no longer listed as open."""
        return self.holds(f"runs/{run.id}/report.json") and not self.holds(f"open/{run.id}")

    def holds(self, name: str) -> bool:
        """Return whether an object exists in the group's folder of the bucket."""
        return self.bucket.find(name) is not None

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `promptmill` in the environment of this group."""
        command = [sys.executable, "-m", "promptmill.cli", *arguments]
        environment = os.environ | self.environment
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def read_cli(self, *arguments: str) -> str:
        """Return the stdout of `promptmill`; if it fails, the test fails with its stderr."""
        done = self.cli(*arguments)
        assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
        return done.stdout

    def parked(self) -> list[str]:
        """Return the names of the dead letters."""
        return [stored.name for stored in self.bucket.list("dead/")]

    def strikes(self, run: Run, what: str) -> bool:
        """Wait for a crash; return False if the run ended without it.

        Effects that depend on time do not occur in every run. Raises AssertionError that names
        ``what`` if neither happens.
        """
        wait_until(lambda: self._has_struck() or self.ended(run), what)
        with suppress(AssertionError):
            wait_until(self._has_struck, what, seconds=AT_THE_END)
        return self._has_struck()

    def _has_struck(self) -> bool:
        return STRUCK in self.journal_lines()

    def wait(self, run: Run, *, reviving: bool = False) -> None:
        """Wait for the end of a run; raises AssertionError with its status and logs."""
        deadline = time.monotonic() + PATIENCE
        while not self.ended(run):
            if reviving:
                self.revive()
            assert time.monotonic() < deadline, (
                f"no end of {self.name} in {PATIENCE:g} s: {self._story(run)}"
            )
            time.sleep(LOOK)

    def violations(self, run: Run, requests: int = 10) -> list[str]:
        """Return the violations of an ended run."""
        folder = f"{BUCKET}/{self.name}-answers"
        rows = {"the file": read_results(self.answers), "the folder": rows_in(folder, run)}
        return violations(observe(run, map(str, range(1, requests + 1)), self.stack.jobs, rows))

    @contextmanager
    def beat(self) -> Iterator[None]:
        """Send `reconcile` every few seconds until the block ends, as beat does."""
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
        """Return the logs of its workers so far."""
        return "".join(log.read_text() for log in sorted(self.folder.glob("*.log")))

    def tries_again(self, steps: str, why: str) -> bool:
        """Return whether a worker has logged a retry of a step with this reason.

        Both are regular expressions. A step that only waits logs no reason.
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
    """Return the settings of workers that reach storage through the proxy."""
    return {"STORAGE_EMULATOR_HOST": proxy.url}


def rows_in(folder: str, run: Run) -> list[Result]:
    """Return the rows of a run in a sink in a bucket."""
    bucket = open_bucket(folder)
    lines = [
        line for stored in bucket.list(run.id) for line in bucket.read(stored.name).splitlines()
    ]
    return [msgspec.json.decode(line, type=Result) for line in lines]
