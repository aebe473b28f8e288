"""The documented time limits hold with default settings, also when several parts fail at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from faults.crashing import STRUCK, Crash
from faults.worker_group import WorkerGroups
from promptmill.producers import Promptmill, Run
from promptmill.producers.contract import sink_specs
from promptmill.workers.adapters.storage import open_bucket
from support.calibration import Stopwatch, stopwatch
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
from support.proxy import HttpProxy
from support.waiting import PATIENCE, wait_until

TAKEOVER = 30.0
"""Maximum seconds from the death of a worker until another one completes its task."""
WITHOUT_REDIS = 15.0
"""Maximum seconds from the loss of Redis or its data until a run continues."""
STOP = 10.0
"""Maximum seconds from SIGTERM to the exit of a worker."""
INTERVAL = 3.0
"""Seconds between two polls of recent jobs, by default."""
QUEUED_MODEL = "gemini-3.1-pro-preview"
LOOKS = r".*/batchPredictionJobs\?.*"
PER_JOB = 20
EVERY = float("inf")
STAGES = {
    "ingest": "create runs/*/chunks/*",
    "plan": "create runs/*/plan.json",
    "shard": "write_stream runs/*/shards/*/*/input.jsonl",
    "submit": "create job",
    "poll": "create runs/*/shards/*/*/ended.json",
    "collect": "create runs/*/shards/*/*/parts.json",
    "parse": "write runs/*/shards/*/*/results/*.jsonl",
    "settle": "create runs/*/shards/*/*/settled.json",
    "deliver": "deliver file",
    "finish": "finish file",
}
"""An effect in the middle of each step."""


@dataclass(frozen=True)
class Plant:
    """Servers, workers with default settings, and a proxy before storage."""

    servers: LocalStack
    workers: LocalStack
    storage: HttpProxy

    def facts(self, run: Run) -> set[str]:
        """Return the names of all objects of a run."""
        bucket = open_bucket(self.servers.environment["PROMPTMILL_BUCKET"])
        return {
            stored.name.removeprefix(f"runs/{run.id}/") for stored in bucket.list(f"runs/{run.id}/")
        }


@pytest.fixture(scope="module")
def running_plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with (
        running(tmp_path_factory.mktemp("servers"), SERVERS) as servers,
        HttpProxy(servers.environment["STORAGE_EMULATOR_HOST"]) as storage,
    ):
        behind = {
            "STORAGE_EMULATOR_HOST": storage.url,
            "PROMPTMILL_MAX_REQUESTS_PER_JOB": str(PER_JOB),
        }
        with running(
            tmp_path_factory.mktemp("workers"), WORKERS, settings=servers.environment | behind
        ) as workers:
            yield Plant(servers, workers, storage)


@pytest.fixture
def plant(running_plant: Plant) -> Iterator[Plant]:
    """The running plant, with its environment set for one test."""
    with surroundings(running_plant.servers.environment):
        yield running_plant


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize(
    ("calls", "fact"),
    [("POST /upload/.*", "chunks/00000000"), ("GET .*chunks.*", "shards/0000/1/input.json")],
)
def test_what_a_killed_worker_was_at_is_taken_over_within_30_seconds(
    plant: Plant, calls: str, fact: str
) -> None:
    """Covers a chunk, which exists only in its message, and a step that a sweep can restore."""
    method, _, path = calls.partition(" ")
    plant.storage.fail(method, path, times=EVERY)
    run = Promptmill().submit(f"prompt {number}" for number in range(PER_JOB))
    wait_until(
        lambda: [call for call in plant.storage.seen(method, path) if call.fault],
        "a worker in the middle",
    )
    plant.workers.kill("worker")
    with stopwatch() as watch:
        plant.storage.clear()
        before = fact in plant.facts(run)
        wait_until(lambda: fact in plant.facts(run), fact)
    done(run)

    print(f"{fact} {watch.seconds:.1f} s after its worker died")  # noqa: T201 - a measurement
    assert not before
    watch.assert_below(TAKEOVER)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True], ids=["wiped", "killed"])
def test_a_run_goes_on_within_15_seconds_after_redis_lost_everything(
    plant: Plant, is_killed: bool
) -> None:
    plant.servers.fault("job", "queued", seconds=4, times=2)
    run = Promptmill().submit(f"prompt {number}" for number in range(2 * PER_JOB))
    wait_until(lambda: len(plant.servers.jobs(run.id)) == 2, "two jobs")
    with redis.Redis.from_url(plant.servers.environment["CELERY_BROKER_URL"]) as client:
        client.flushall()
    if is_killed:
        plant.servers.kill("redis")
    with stopwatch() as watch:
        before = plant.facts(run)
        wait_until(
            lambda: {name for name in plant.facts(run) - before if "job.json" not in name},
            "progress",
        )
    wait_until(lambda: "report.json" in plant.facts(run), "the end")

    print(f"progress {watch.seconds:.1f} s after Redis lost everything")  # noqa: T201 - a measurement
    watch.assert_below(WITHOUT_REDIS)
    assert run.report().succeeded == 2 * PER_JOB
    assert len(plant.servers.jobs(run.id)) == 2


@pytest.mark.alone
@pytest.mark.slow
def test_a_worker_stops_within_ten_seconds_in_any_stage(
    groups: WorkerGroups,
) -> None:
    with ThreadPoolExecutor(5) as threads:
        watches = dict(
            zip(STAGES, threads.map(lambda stage: stopped_in(groups, stage), STAGES), strict=True)
        )

    print(", ".join(f"{stage} {watch.seconds:.1f} s" for stage, watch in watches.items()))  # noqa: T201 - a measurement
    for watch in watches.values():
        watch.assert_below(STOP)


def stopped_in(groups: WorkerGroups, stage: str) -> Stopwatch:
    """Stop a worker in this step, and complete the run with another one.

    Returns the seconds from SIGTERM to the exit.
    """
    with groups.create_group(f"stop-{stage}") as group:
        worker = group.work(Crash(STAGES[stage], "before", deed="stop"), pool="prefork")
        run = group.submit()
        wait_until(lambda: STRUCK in group.journal_lines(), stage)
        with stopwatch() as watch:
            worker.join(PATIENCE)
        group.work()
        group.wait(run)
        assert group.violations(run) == []
        return watch


@pytest.mark.alone
@pytest.mark.parametrize(
    "moment", ["take_poll_turn note", "pass_poll_turn note"], ids=["in a look", "between two looks"]
)
def test_polling_goes_on_within_two_intervals_after_the_death_of_the_worker_that_polled(
    groups: WorkerGroups, servers: LocalStack, moment: str
) -> None:
    """One of two workers dies. Sweeps are minutes apart, so they do not help."""
    with HttpProxy(servers.emulator) as vertex:
        settings = {
            "PROMPTMILL_POLL_INTERVAL": str(INTERVAL),
            "PROMPTMILL_RECONCILE_INTERVAL": "600",
        }
        behind = {"PROMPTMILL_VERTEX_ENDPOINT": vertex.url}
        with groups.create_group(f"polled-{moment.partition('_')[0]}", settings | behind) as group:
            match = {"model": f"*/{QUEUED_MODEL}"}
            servers.fault("job", "queued", seconds=30, match=match)
            for _ in range(2):
                group.work(Crash(moment, "after", 4, "die whole"), pool="prefork")
            run = group.submit(4, model=QUEUED_MODEL)
            wait_until(
                lambda: STRUCK in group.journal_lines(), "the death of the worker that polls"
            )
            before = len(vertex.seen("GET", LOOKS))
            with stopwatch() as watch:
                wait_until(
                    lambda: len(vertex.seen("GET", LOOKS)) > before, "a poll by the other worker"
                )
            group.wait(run)

            print(f"polled {watch.seconds:.1f} s after the death of the worker that polled")  # noqa: T201 - a measurement
            watch.assert_below(2 * INTERVAL)
            assert group.violations(run, 4) == []


@pytest.mark.slow
def test_a_run_outlives_the_death_of_all_workers_the_loss_of_redis_and_a_restart_of_vertex(
    tmp_path: Path,
) -> None:
    shards, answers = 20, tmp_path / "answers"
    settings = QUICK | {"PROMPTMILL_MAX_REQUESTS_PER_JOB": str(PER_JOB)}
    with running(tmp_path / "servers", SERVERS) as servers, surroundings(servers.environment):
        with running(tmp_path / "first", WORKERS, settings=settings) as workers:
            prompts = (f"prompt {number}" for number in range(shards * PER_JOB))
            run = Promptmill().submit(prompts, sinks=[sink_specs.jsonl(answers)])
            wait_until(lambda: len(servers.jobs(run.id)) >= shards // 2, "half of the jobs")
            workers.kill(*WORKERS)
        with redis.Redis.from_url(servers.environment["CELERY_BROKER_URL"]) as client:
            client.flushall()
        servers.kill("emulator")
        wait_until(lambda: servers.status()["emulator"].state == "ready", "the emulator")
        with running(tmp_path / "second", WORKERS, settings=settings):
            assert servers.cli("reconcile").returncode == 0
            done(run)

        report = run.report()
        assert (report.state, report.succeeded, report.unaccounted) == (
            "succeeded",
            shards * PER_JOB,
            0,
        )
        assert report.jobs == len(servers.jobs(run.id)) == shards
        assert (
            keys(read_results(answers))
            == keys(list(run.results()))
            == once(range(1, shards * PER_JOB + 1))
        )
