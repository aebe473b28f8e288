"""Workers, pollers and Redis that die in the middle of a run: everything is answered, and nothing is paid for twice."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from promptmill.config.queues import WORK
from promptmill.producers import Promptmill, Run
from promptmill.producers.contract import sink_specs
from support.calibration import stopwatch
from support.local_stack import (
    QUICK,
    SERVERS,
    WORKERS,
    LocalStack,
    done,
    keys,
    once,
    read_results,
    running,
    surroundings,
)
from support.proxy import Call, HttpProxy
from support.waiting import wait_until

PER_JOB = 20
INTERVAL = 0.5
LONGEST_GAP = 30.0
"""Seconds that may pass without a look at the jobs when the worker that polls is killed."""


@dataclass(frozen=True)
class Plant:
    """Servers that stay up, workers that may be killed, and between them a proxy that sees all calls to Vertex."""

    servers: LocalStack
    workers: LocalStack
    vertex: HttpProxy

    def looks(self) -> list[Call]:
        """The list calls so far."""
        return self.vertex.seen("GET", r".*/batchPredictionJobs\?.*")

    def broker(self) -> "redis.Redis":
        return redis.Redis.from_url(self.servers.environment["CELERY_BROKER_URL"])


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    settings = QUICK | {
        "PROMPTMILL_MAX_REQUESTS_PER_JOB": str(PER_JOB),
        "PROMPTMILL_POLL_INTERVAL": str(INTERVAL),
    }
    with (
        running(tmp_path_factory.mktemp("servers"), SERVERS) as servers,
        HttpProxy(servers.emulator) as vertex,
        surroundings(servers.environment | {"PROMPTMILL_VERTEX_ENDPOINT": vertex.url}),
        running(tmp_path_factory.mktemp("workers"), WORKERS, settings=settings) as workers,
    ):
        yield Plant(servers, workers, vertex)


@pytest.fixture
def mill(plant: Plant) -> Iterator[Promptmill]:
    with surroundings(plant.servers.environment):
        yield Promptmill()
    plant.servers.clear_faults()


@pytest.mark.alone
def test_fifty_open_jobs_are_polled_by_one_chain_that_outlives_its_worker(
    plant: Plant, mill: Promptmill
) -> None:
    plant.servers.fault("job", "queued", seconds=3600, times=50)
    run = mill.submit(f"prompt {number}" for number in range(50 * PER_JOB))
    wait_until(lambda: len(plant.servers.jobs(run.id)) == 50, "50 jobs")

    before, began = len(plant.looks()), time.monotonic()
    wait_until(lambda: len(plant.looks()) >= before + 9, "nine looks")
    each = (time.monotonic() - began) / 9
    assert each > INTERVAL * 8 / 9, "two chains would look twice as often"
    assert plant.vertex.seen("GET", r".*/batchPredictionJobs/.*") == [], (
        "no job is asked for by itself"
    )

    with stopwatch() as watch:
        plant.workers.kill("poll")
        before = len(plant.looks())
        wait_until(lambda: len(plant.looks()) >= before + 2, "polls after the death of the worker")
    gap = f"no poll for {watch.seconds:.1f} s after its worker was killed"
    print(f"50 jobs polled every {each:.2f} s; {gap}")  # noqa: T201 - a measurement
    watch.assert_below(LONGEST_GAP)

    run.cancel()  # the jobs end with all their answers
    assert done(run).state == "succeeded"
    assert len(plant.servers.jobs(run.id)) == 50


def test_a_run_survives_the_death_of_all_workers_and_beat(
    plant: Plant, mill: Promptmill, tmp_path: Path
) -> None:
    run = mill.submit(
        (f"prompt {number}" for number in range(400)),
        sinks=[sink_specs.jsonl(tmp_path / "answers")],
    )
    wait_until(lambda: plant.servers.jobs(run.id), "the first job")

    plant.workers.kill(*WORKERS)

    done(run)
    assert_whole(plant, run, tmp_path / "answers", 400)


def test_a_step_that_a_dead_worker_had_taken_but_not_begun_is_done_soon(
    plant: Plant, mill: Promptmill
) -> None:
    """Its message is in no queue any more, and comes back from the broker only when the visibility timeout is over."""
    with plant.broker() as client:
        with plant.servers.standing_clock():
            run = mill.submit(f"prompt {number}" for number in range(3 * PER_JOB))
            wait_until(lambda: len(plant.servers.jobs(run.id)) == 3, "3 jobs")
            wait_until(lambda: not at_work(client), "an idle worker")
            _, *pool = plant.workers.processes("worker")
            for process in pool:
                process.suspend()
        try:
            wait_until(lambda: client.llen(WORK) == 1, "two steps taken, and one left in the queue")
        finally:
            plant.workers.kill("worker")

    assert done(run).state == "succeeded"


def test_a_run_survives_the_loss_of_all_that_redis_held(
    plant: Plant, mill: Promptmill, tmp_path: Path
) -> None:
    run = mill.submit(
        (f"prompt {number}" for number in range(400)),
        sinks=[sink_specs.jsonl(tmp_path / "answers")],
    )
    wait_until(lambda: plant.servers.jobs(run.id), "the first job")

    with plant.broker() as client:
        client.flushall()

    wait_until(lambda: run.id in {known.id for known in mill.runs()}, "the run in the index again")
    done(run)
    assert_whole(plant, run, tmp_path / "answers", 400)


def at_work(client: "redis.Redis") -> bool:
    """Whether a step is in the workers' queue, or in a worker's hands."""
    held: Any = client.hvals("promptmill.unacked")
    return bool(client.llen(WORK)) or any(WORK.encode() in message for message in held)


def assert_whole(plant: Plant, run: Run, answers: Path, requests: int) -> None:
    """Every request has its answer once, and every shard was paid for once."""
    report = run.report()
    assert (report.state, report.succeeded, report.unaccounted) == ("succeeded", requests, 0)
    assert keys(read_results(answers)) == keys(list(run.results())) == once(range(1, requests + 1))
    assert report.jobs == len(plant.servers.jobs(run.id)) == requests // PER_JOB
