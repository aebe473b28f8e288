"""Thousands of small runs and delayed steps: no run is lost, and a worker stops quickly."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery

from promptmill.config.queues import JOBS
from promptmill.producers import Promptmill, Run
from promptmill.producers.contract.status import END_STATES
from support.calibration import Stopwatch, stopwatch
from support.collecting import answered, collect, pooled
from support.local_stack import QUICK, SERVERS, WORKERS, LocalStack, running, surroundings
from support.waiting import PATIENCE, wait_until

WAITING = 2000
RUNS = 150
COLLECTED = 2000
MOST_JOBS = 10


TURNS = 5
"""Submits that may run and end in the meantime, at one a minute."""


@pytest.fixture
def slow_to_create(tmp_path: Path) -> Iterator[LocalStack]:
    """A worker that creates one job a minute."""
    settings = {
        "PROMPTMILL_MAX_CREATES_PER_MINUTE": "1",
        "PROMPTMILL_MAX_OPEN_JOBS": str(2 * WAITING),
    }
    with running(tmp_path, (*SERVERS, "poll"), settings=settings) as stack:
        yield stack


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[LocalStack]:
    """A complete stack with short intervals."""
    settings = {**QUICK, "PROMPTMILL_POOL_SECONDS": "5"}
    with (
        running(tmp_path, (*SERVERS, *WORKERS), settings=settings) as stack,
        surroundings(stack.environment),
    ):
        yield stack


@pytest.mark.alone
def test_a_worker_to_which_thousands_of_submits_come_back_stops_in_five_seconds_and_loses_none(
    slow_to_create: LocalStack,
) -> None:
    """Open jobs need no message. A delayed submit is a message that a worker holds."""
    url = slow_to_create.environment["CELERY_BROKER_URL"]
    with redis.Redis.from_url(url) as broker, Celery(broker=url, set_as_current=False) as sender:
        for shard in range(WAITING):
            step = f"01k000000000000000000000zz.s{shard:03d}.a1.submit"
            args = ["01k000000000000000000000zz", shard, 1]
            sender.send_task("promptmill.submit", args=args, task_id=step, queue=JOBS)
        wait_until(lambda: not broker.llen(JOBS), "a worker that has taken them all")
        held: Any = broker.hlen("promptmill.unacked")
        watch = stop(slow_to_create, "poll")
        wait_until(
            lambda: len(waiting(broker)) >= WAITING - TURNS,
            "all submits in the queue, or with the next worker",
        )

    print(f"{held} submits held; stopped {watch.seconds:.1f} s after SIGTERM")  # noqa: T201 - a measurement
    assert held > WAITING * 0.9
    watch.assert_below(5)


def stop(stack: LocalStack, name: str) -> Stopwatch:
    """Stop a worker, and return the time that it took."""
    first = psutil.Process(stack.status()[name].pid)
    with stopwatch() as watch:
        first.terminate()
        first.wait(PATIENCE)
    return watch


def waiting(broker: "redis.Redis") -> set[str]:
    """Return the steps whose messages are queued or held by a worker."""
    queued: Any = broker.lrange(JOBS, 0, -1)
    held: Any = broker.hvals("promptmill.unacked")
    messages = [*map(json.loads, queued), *(json.loads(one)[0] for one in held)]
    return {message["headers"]["id"] for message in messages}


@pytest.mark.slow
def test_very_many_tiny_runs_at_once_all_end_with_a_job_each(quick: LocalStack) -> None:
    mill = Promptmill()
    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        runs = list(
            threads.map(lambda number: mill.submit([f"Say {number}", "Say it again"]), range(RUNS))
        )
    seconds = sorted(wait_until(lambda run=run: took(run), "its end") for run in runs)  # type: ignore[misc]
    whole = time.monotonic() - began

    p99 = seconds[int(len(seconds) * 0.99)]
    print(f"{RUNS} runs in {whole:.0f} s; p50 {seconds[RUNS // 2]:.1f} s, p99 {p99:.1f} s")  # noqa: T201 - a measurement
    assert {run.status.state for run in runs} == {"succeeded"}
    assert quick.billed() == RUNS


@pytest.mark.slow
def test_very_many_tiny_submissions_at_once_share_a_few_jobs_when_they_are_pooled(
    quick: LocalStack,
) -> None:
    """`make bench` runs 10,000 of them."""
    mill = Promptmill()
    began = time.monotonic()
    collect(quick, COLLECTED, prompts=2, processes=2)
    wait_until(lambda: answered(mill) >= 2 * COLLECTED, "an answer to each")

    print(f"{COLLECTED:,} submissions in {time.monotonic() - began:.0f} s, {quick.billed()} jobs")  # noqa: T201 - a measurement
    assert quick.billed() <= MOST_JOBS
    assert len({result.key for run in pooled(mill) for result in run.results()}) == 2 * COLLECTED


def took(run: Run) -> float:
    """Return the seconds that a run took; 0 while it is open."""
    status = run.status
    return status.ended - status.created if status.state in END_STATES else 0.0
