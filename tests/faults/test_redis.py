"""Redis that is wiped, cut off, full, read-only, away, or comes back empty: it is the memory, and never the truth."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from faults.crashing import Crash
from faults.effects import depends_on_time, first_and_last
from faults.mills import Mill, Mills
from promptmill.config.errors import Transient
from promptmill.producers import Run
from support.calibration import stopwatch
from support.stack import Site, running
from support.tcp_proxy import HOST, TcpProxy
from support.waiting import wait_until

FEW = 5
CONNECTED = "Connected to redis"
SWEPT = "promptmill.reconcile["
NOT_RENEWED = "message_renewal_failed"
CANNOT_CONNECT = "Cannot connect to redis"


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Redis beside that of all others, to do to it what would hurt them."""
    with running(tmp_path_factory.mktemp("redis"), ("redis",)) as site:
        yield site


def at(url: str) -> dict[str, str]:
    """The settings of a mill whose Redis is there."""
    return {"CELERY_BROKER_URL": url, "PROMPTMILL_REDIS_URL": url}


@pytest.mark.slow
def test_redis_may_be_wiped_after_every_effect_of_a_worker(mills: Mills) -> None:
    """What the broker held of a run that is not whole yet is sent again by its producer, with the same key."""
    with mills.mill("nobody-wipes") as mill:
        mill.work()
        mill.wait(mill.submit())
        effects = first_and_last(mill.journal_lines())

    def wiped(numbered: tuple[int, tuple[str, int]]) -> tuple[str, list[str]]:
        number, (effect, nth) = numbered
        crash = Crash(effect, "after", nth, "wipe")
        with mills.mill(f"wipe-{number}") as mill:
            mill.work(crash)
            run = mill.submit(idempotency_key=str(crash))
            try:
                if not mill.strikes(run, "the moment of the wipe") and not depends_on_time(effect):
                    return str(crash), ["the run ended without the moment of the wipe"]
                if not mill.holds(f"runs/{run.id}/plan.json"):
                    mill.submit(idempotency_key=str(crash))
                mill.wait(run)
            except AssertionError as late:
                return str(crash), [str(late)]
            return str(crash), mill.violations(run)

    found = dict(mills.sweep(wiped, enumerate(effects)))
    assert {crash: wrong for crash, wrong in found.items() if wrong} == {}


@pytest.mark.alone
def test_a_redis_that_dies_with_tasks_in_flight_and_comes_back_empty_is_filled_again(
    mills: Mills, own_redis: Site
) -> None:
    url = own_redis.environment["CELERY_BROKER_URL"]
    with mills.mill("empty", at(url)) as mill:
        for _ in range(2):
            mill.work()
        run = mill.submit()
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        mill.redis.flushall()
        own_redis.kill("redis")
        with stopwatch() as watch:
            wait_until(lambda: known(mill, run), "the run in Redis again")
        mill.wait(run)

        assert mill.violations(run) == []
        assert run.status.state == "succeeded"
        print(f"known again {watch.seconds:.1f} s after Redis died")  # noqa: T201 - a measurement
        watch.assert_below(15)


def test_connections_that_break_again_and_again_cost_nothing(mills: Mills) -> None:
    with mills.mill("cut-off") as mill:
        for _ in range(2):
            mill.work()
        run = mill.submit()
        while not mill.ended(run):
            connected = mill.log().count(CONNECTED)
            mill.redis.client_kill_filter(_type="normal", skipme=True)
            wait_until(
                lambda connected=connected: (
                    mill.log().count(CONNECTED) > connected or mill.ended(run)
                ),  # type: ignore[misc]
                "a new connection",
            )
        mill.wait(run)

        assert mill.violations(run) == []


def test_a_redis_that_is_away_for_a_while_is_waited_for(mills: Mills, own_redis: Site) -> None:
    port = int(own_redis.environment["CELERY_BROKER_URL"].rpartition(":")[2].partition("/")[0])
    with (
        TcpProxy(HOST, port) as proxy,
        mills.mill("away", at(f"redis://{HOST}:{proxy.port}/1")) as mill,
    ):
        mill.work()
        run = mill.submit()
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        proxy.refusing = True
        proxy.break_all()
        with pytest.raises(Transient):
            mill.submit()
        wait_until(
            lambda: mill.log().count(CANNOT_CONNECT) >= 2,
            "a worker that tries again, and again",
        )
        proxy.refusing = False
        returned = time.monotonic()
        mill.wait(run)

        print(f"ended {time.monotonic() - returned:.1f} s after Redis was back")  # noqa: T201 - a measurement
        assert mill.violations(run) == []
        assert len(mill.site.jobs(run.id)) == 2


def test_a_worker_that_has_nothing_to_do_keeps_its_connection(mills: Mills) -> None:
    with mills.mill("idle") as mill:
        mill.work()
        mill.wait(mill.submit())
        swept = mill.log().count(SWEPT)
        wait_until(lambda: mill.log().count(SWEPT) > swept + 3, "a few seconds without a run")

        assert mill.log().count(CONNECTED) == 1


def test_a_worker_that_is_at_work_when_redis_goes_away_connects_again(
    mills: Mills, own_redis: Site
) -> None:
    """Its heartbeats are long due when it is through, and its message cannot be given back."""
    port = int(own_redis.environment["CELERY_BROKER_URL"].rpartition(":")[2].partition("/")[0])
    with (
        TcpProxy(HOST, port) as proxy,
        mills.mill("held", at(f"redis://{HOST}:{proxy.port}/1")) as mill,
    ):
        mill.work(Crash("create runs/*/shards/*/*/job.json", "after", deed="wait"))
        run = mill.submit()
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        proxy.refusing = True
        proxy.break_all()
        wait_until(
            lambda: mill.log().count(NOT_RENEWED) >= 3, "a worker that has missed a heartbeat"
        )
        (mill.folder / "go on").touch()
        wait_until(
            lambda: mill.log().count(CANNOT_CONNECT) >= 2,
            "a worker that tries again, and again",
        )
        proxy.refusing = False
        mill.wait(run)

        assert mill.violations(run) == []
        assert len(mill.site.jobs(run.id)) == 2


def test_a_redis_that_is_full_or_read_only_is_a_reason_to_wait(
    mills: Mills, own_redis: Site
) -> None:
    """A worker may end when Redis refuses its notes of messages: then its supervisor starts it again."""
    with mills.mill("full", at(own_redis.environment["CELERY_BROKER_URL"])) as mill:
        mill.work()
        run = mill.submit()
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        mill.redis.config_set("maxmemory", "1")
        with pytest.raises(Transient):
            mill.submit()
        wait_until(lambda: refused(mill, "OOM") > FEW, "writes that are refused as Redis is full")
        mill.redis.config_set("maxmemory", "0")
        mill.revive()
        mill.redis.replicaof(
            HOST, "9"
        )  # nobody is there: it keeps what it has, and takes no writes
        wait_until(
            lambda: refused(mill, "READONLY") > FEW,
            "writes that are refused as Redis is a replica",
        )
        mill.redis.replicaof("NO", "ONE")
        mill.wait(run, reviving=True)

        assert mill.violations(run) == []


def refused(mill: Mill, error: str) -> int:
    """How many commands Redis has refused with an error of this kind."""
    told: Any = mill.redis.info("errorstats")
    return int(told.get(f"errorstat_{error}", {"count": 0})["count"])


def known(mill: Mill, run: Run) -> Any:
    """Whether Redis tells of the run."""
    try:
        return run.id in mill.client.index.list_runs(10)
    except (Transient, redis.RedisError):
        return False


def test_nothing_that_redis_held_is_needed_to_tell_how_a_run_ended(
    mills: Mills, tmp_path: Path
) -> None:
    with mills.mill("forgotten") as mill:
        mill.work()
        run = mill.submit()
        mill.wait(run)
        mill.redis.flushdb()

        assert mill.violations(run) == []
