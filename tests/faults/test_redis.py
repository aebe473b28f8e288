"""Redis is wiped, unreachable, full, read-only or empty after a restart. No run is lost."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from faults.crashing import Crash
from faults.effects import depends_on_time, first_and_last
from faults.worker_group import WorkerGroup, WorkerGroups
from promptmill.config.errors import Transient
from promptmill.producers import Run
from support.calibration import stopwatch
from support.local_stack import LocalStack, running
from support.tcp_proxy import HOST, TcpProxy
from support.waiting import wait_until

FEW = 5
CONNECTED = "Connected to redis"
SWEPT = "promptmill.reconcile["
NOT_RENEWED = "message_renewal_failed"
CANNOT_CONNECT = "Cannot connect to redis"


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A separate Redis for faults that would affect other tests."""
    with running(tmp_path_factory.mktemp("redis"), ("redis",)) as stack:
        yield stack


def at(url: str) -> dict[str, str]:
    """Return the settings of workers that use the Redis at this URL."""
    return {"CELERY_BROKER_URL": url, "PROMPTMILL_REDIS_URL": url}


@pytest.mark.slow
def test_redis_may_be_wiped_after_every_effect_of_a_worker(groups: WorkerGroups) -> None:
    """The producer repeats an incomplete run with the same idempotency key."""
    with groups.create_group("nobody-wipes") as group:
        group.work()
        group.wait(group.submit())
        effects = first_and_last(group.journal_lines())

    def wiped(numbered: tuple[int, tuple[str, int]]) -> tuple[str, list[str]]:
        number, (effect, nth) = numbered
        crash = Crash(effect, "after", nth, "wipe")
        with groups.create_group(f"wipe-{number}") as group:
            group.work(crash)
            run = group.submit(idempotency_key=str(crash))
            try:
                if not group.strikes(run, "the moment of the wipe") and not depends_on_time(effect):
                    return str(crash), ["the run ended without the moment of the wipe"]
                if not group.holds(f"runs/{run.id}/plan.json"):
                    group.submit(idempotency_key=str(crash))
                group.wait(run)
            except AssertionError as late:
                return str(crash), [str(late)]
            return str(crash), group.violations(run)

    found = dict(groups.sweep(wiped, enumerate(effects)))
    assert {crash: wrong for crash, wrong in found.items() if wrong} == {}


@pytest.mark.alone
def test_a_redis_that_dies_with_tasks_in_flight_and_comes_back_empty_is_filled_again(
    groups: WorkerGroups, own_redis: LocalStack
) -> None:
    url = own_redis.environment["CELERY_BROKER_URL"]
    with groups.create_group("empty", at(url)) as group:
        for _ in range(2):
            group.work()
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        group.redis.flushall()
        own_redis.kill("redis")
        with stopwatch() as watch:
            wait_until(lambda: known(group, run), "the run in Redis again")
        group.wait(run)

        assert group.violations(run) == []
        assert run.status.state == "succeeded"
        print(f"known again {watch.seconds:.1f} s after Redis died")  # noqa: T201 - a measurement
        watch.assert_below(15)


def test_connections_that_break_again_and_again_cost_nothing(groups: WorkerGroups) -> None:
    with groups.create_group("cut-off") as group:
        for _ in range(2):
            group.work()
        run = group.submit()
        while not group.ended(run):
            connected = group.log().count(CONNECTED)
            group.redis.client_kill_filter(_type="normal", skipme=True)
            wait_until(
                lambda connected=connected: (
                    group.log().count(CONNECTED) > connected or group.ended(run)
                ),  # type: ignore[misc]
                "a new connection",
            )
        group.wait(run)

        assert group.violations(run) == []


def test_workers_wait_for_an_unavailable_redis(groups: WorkerGroups, own_redis: LocalStack) -> None:
    port = int(own_redis.environment["CELERY_BROKER_URL"].rpartition(":")[2].partition("/")[0])
    with (
        TcpProxy(HOST, port) as proxy,
        groups.create_group("away", at(f"redis://{HOST}:{proxy.port}/1")) as group,
    ):
        group.work()
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        proxy.refusing = True
        proxy.break_all()
        with pytest.raises(Transient):
            group.submit()
        wait_until(
            lambda: group.log().count(CANNOT_CONNECT) >= 2,
            "a worker that tries again, and again",
        )
        proxy.refusing = False
        returned = time.monotonic()
        group.wait(run)

        print(f"ended {time.monotonic() - returned:.1f} s after Redis was back")  # noqa: T201 - a measurement
        assert group.violations(run) == []
        assert len(group.stack.jobs(run.id)) == 2


def test_a_worker_that_has_nothing_to_do_keeps_its_connection(groups: WorkerGroups) -> None:
    with groups.create_group("idle") as group:
        group.work()
        group.wait(group.submit())
        swept = group.log().count(SWEPT)
        wait_until(lambda: group.log().count(SWEPT) > swept + 3, "a few seconds without a run")

        assert group.log().count(CONNECTED) == 1


def test_a_worker_that_is_at_work_when_redis_goes_away_connects_again(
    groups: WorkerGroups, own_redis: LocalStack
) -> None:
    """Its heartbeats are overdue when it ends, and its message cannot be requeued."""
    port = int(own_redis.environment["CELERY_BROKER_URL"].rpartition(":")[2].partition("/")[0])
    with (
        TcpProxy(HOST, port) as proxy,
        groups.create_group("held", at(f"redis://{HOST}:{proxy.port}/1")) as group,
    ):
        group.work(Crash("create runs/*/shards/*/*/job.json", "after", deed="wait"))
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        proxy.refusing = True
        proxy.break_all()
        wait_until(
            lambda: group.log().count(NOT_RENEWED) >= 3, "a worker that has missed a heartbeat"
        )
        (group.folder / "go on").touch()
        wait_until(
            lambda: group.log().count(CANNOT_CONNECT) >= 2,
            "a worker that tries again, and again",
        )
        proxy.refusing = False
        group.wait(run)

        assert group.violations(run) == []
        assert len(group.stack.jobs(run.id)) == 2


def test_workers_wait_for_a_full_or_read_only_redis(
    groups: WorkerGroups, own_redis: LocalStack
) -> None:
    """A worker may exit when Redis refuses its writes; its supervisor restarts it."""
    with groups.create_group("full", at(own_redis.environment["CELERY_BROKER_URL"])) as group:
        group.work()
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        group.redis.config_set("maxmemory", "1")
        with pytest.raises(Transient):
            group.submit()
        wait_until(lambda: refused(group, "OOM") > FEW, "writes that are refused as Redis is full")
        group.redis.config_set("maxmemory", "0")
        group.revive()
        group.redis.replicaof(
            HOST, "9"
        )  # nobody is there: it keeps what it has, and takes no writes
        wait_until(
            lambda: refused(group, "READONLY") > FEW,
            "writes that are refused as Redis is a replica",
        )
        group.redis.replicaof("NO", "ONE")
        group.wait(run, reviving=True)

        assert group.violations(run) == []


def refused(group: WorkerGroup, error: str) -> int:
    """Return the number of commands that Redis has refused with this error."""
    errors: Any = group.redis.info("errorstats")
    return int(errors.get(f"errorstat_{error}", {"count": 0})["count"])


def known(group: WorkerGroup, run: Run) -> Any:
    """Return what Redis knows of the run."""
    try:
        return run.id in group.client.index.list_runs(10)
    except (Transient, redis.RedisError):
        return False


def test_nothing_that_redis_held_is_needed_to_tell_how_a_run_ended(
    groups: WorkerGroups, tmp_path: Path
) -> None:
    with groups.create_group("forgotten") as group:
        group.work()
        run = group.submit()
        group.wait(run)
        group.redis.flushdb()

        assert group.violations(run) == []
