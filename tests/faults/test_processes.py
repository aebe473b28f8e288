"""Producers and workers are killed or stopped, or have a wrong clock; a step kills its workers."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import psutil
import pytest
from celery import Celery

from faults.crashing import Crash
from faults.invariants import observe, violations
from faults.worker_group import WorkerGroup, WorkerGroups
from promptmill.config.queues import TASK_QUEUES
from promptmill.producers import Promptmill, Run
from promptmill.workers.facts import dead_letters
from promptmill.workers.facts.fact import Fact
from support.calibration import stopwatch
from support.local_stack import QUICK, WORKERS, LocalStack, done, running, surroundings
from support.waiting import PATIENCE, wait_until

DELIVERING = "deliver file"
ONE_DELIVERY = {"PROMPTMILL_PART_BYTES": str(1 << 20)}
"""Settings that put five requests into one part: one sink means one delivery."""


@pytest.fixture(scope="module")
def workers(servers: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Supervised prefork workers with beat, as in production."""
    settings = QUICK | servers.environment | {"PROMPTMILL_MAX_REQUESTS_PER_JOB": "20"}
    with running(tmp_path_factory.mktemp("workers"), WORKERS, settings=settings) as stack:
        yield stack


@pytest.fixture
def mill(servers: LocalStack) -> Iterator[Promptmill]:
    """A producer for those workers."""
    with surroundings(servers.environment):
        yield Promptmill()


def whole(servers: LocalStack, run: Run, requests: int) -> None:
    """Wait for the end of a run, and check it."""
    done(run)
    assert violations(observe(run, map(str, range(1, requests + 1)), servers.jobs, {})) == []


def test_a_killed_process_of_a_pool_costs_nothing(
    servers: LocalStack, workers: LocalStack, mill: Promptmill
) -> None:
    """Kill two processes: a third crash would count as the fault of the step."""
    run = mill.submit(f"prompt {number}" for number in range(200))
    for jobs in (0, 1):
        wait_until(lambda least=jobs: len(servers.jobs(run.id)) >= least, "the first job")  # type: ignore[misc]
        children = [one for name in ("worker", "poll") for one in pool(workers, name)]
        for child in children:
            child.kill()
        psutil.wait_procs(children, timeout=PATIENCE)
        wait_until(
            lambda: pool(workers, "worker") and pool(workers, "poll"),
            "new processes in the pools",
        )
    whole(servers, run, 200)


@pytest.mark.alone
def test_workers_stop_within_ten_seconds_in_the_middle_of_a_run(
    servers: LocalStack, workers: LocalStack, mill: Promptmill
) -> None:
    run = mill.submit(f"prompt {number}" for number in range(400))
    wait_until(lambda: servers.jobs(run.id), "the first job")
    watches = []
    for name in ("worker", "poll"):
        first = psutil.Process(workers.status()[name].pid)
        with stopwatch() as watch:
            first.terminate()
            first.wait(PATIENCE)
        watches.append(watch)
    print(*(f"stopped {watch.seconds:.1f} s after SIGTERM" for watch in watches), sep="; ")  # noqa: T201 - a measurement
    whole(servers, run, 400)
    for watch in watches:
        watch.assert_below(10)


def pool(stack: LocalStack, name: str) -> list[psutil.Process]:
    """Return the processes of a worker's pool."""
    first, *others = stack.processes(name)
    return [one for one in others if one.ppid() != first.pid or len(others) == 1] or others


def test_a_producer_that_is_killed_half_way_sends_what_is_missing_when_it_runs_again(
    groups: WorkerGroups,
) -> None:
    with groups.create_group("producer") as group:
        group.work()
        with producer(group, stop_after=40) as first:
            wait_until(
                lambda: group.redis.hlen(f"promptmill:run:{run_of(group)}:chunks") > 2,
                "some chunks",
            )
            first.kill()
            first.wait()
        run = group.client.get(run_of(group))
        assert run.status.state == "open"
        stored = group.redis.hlen(f"promptmill:run:{run.id}:chunks")
        with producer(group, stop_after=100) as second:
            assert second.wait(PATIENCE) == 0
        group.wait(run)

        assert 2 < stored < 50
        assert violations(observe(run, map(str, range(1, 101)), group.stack.jobs, {})) == []


def producer(group: WorkerGroup, stop_after: int) -> "subprocess.Popen[bytes]":
    """A separate producer process of a hundred requests that hangs after ``stop_after``."""
    code = f"""
        import time
        from promptmill.producers import Promptmill
        def prompts():
            for number in range(100):
                if number == {stop_after}:
                    time.sleep(1000)
                yield f"{{number}}: " + "word " * 500
        Promptmill().submit(prompts(), idempotency_key="half-way")
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env=os.environ | group.environment
    )


def run_of(group: WorkerGroup) -> str:
    """Return the only run of a group."""
    found = group.client.index.list_runs(1)
    return found[0] if found else ""


@pytest.mark.slow
def test_a_step_that_kills_every_worker_is_parked_and_its_neighbours_end(
    groups: WorkerGroups,
) -> None:
    with groups.create_group("poison", ONE_DELIVERY) as group:
        poison = group.submit(5, sinks=group.sinks[:1])
        neighbour = group.submit(5, sinks=[])
        deaths = 0
        while not group.parked():
            doomed = group.work(Crash(DELIVERING, "before"))
            wait_until(lambda dying=doomed: not dying.is_alive() or group.parked(), "a death")  # type: ignore[misc]
            deaths += not doomed.is_alive()
        group.wait(neighbour)
        [name] = group.parked()
        letter = Fact(group.bucket, name, dead_letters.DeadLetter).get()

        assert deaths == dead_letters.MAX_CRASHES == 3
        assert letter.reason == "the worker died 3 times while it ran this step"
        assert letter.step == f"{poison.id}.s000.a1.p00000.k00.deliver"
        assert not group.ended(poison)

        group.kill()
        group.work()
        replay(group, letter.step)
        group.wait(poison)
        assert group.parked() == []
        assert poison.status.state == "succeeded"


def replay(group: WorkerGroup, step: str) -> None:
    """Replay a dead letter on the command line."""
    verb = [sys.executable, "-m", "promptmill.cli", "dead-letters", "--replay", step]
    subprocess.run(verb, env=os.environ | group.environment, check=True, capture_output=True)


@pytest.mark.slow
def test_twenty_concurrent_duplicates_of_a_message_do_not_count_as_crashes(
    groups: WorkerGroups,
) -> None:
    with groups.create_group("copies", ONE_DELIVERY) as group:
        for _ in range(5):
            group.work(Crash(DELIVERING, "before", deed="wait"))
        run = group.submit(5, sinks=group.sinks[:1])
        found = wait_until(lambda: delivery(group), "a delivery")
        assert found
        copies(group, found, 19)
        wait_until(
            lambda: put_off(group) >= 2 * 17,
            "copies that came again, and again were too many",
        )
        (group.folder / "go on").touch()
        group.wait(run)
        wait_until(lambda: not group.redis.hlen("promptmill.unacked"), "an end of all copies")

        assert group.parked() == []
        assert run.status.state == "succeeded"


def delivery(group: WorkerGroup) -> tuple[list[object], str] | None:
    """Return the arguments and the id of the delivery that a worker sent."""
    sent = group.folder / "sent"
    tasks = [json.loads(line) for line in sent.read_text().splitlines()] if sent.exists() else []
    return next(((args, step) for name, args, step in tasks if name == "promptmill.deliver"), None)


def copies(group: WorkerGroup, delivery: tuple[list[object], str], number: int) -> None:
    """Send a delivery again, ``number`` times."""
    args, step = delivery
    with Celery(broker=group.environment["CELERY_BROKER_URL"], set_as_current=False) as sender:
        for _ in range(number):
            sender.send_task(
                "promptmill.deliver",
                args=args,
                task_id=step,
                queue=TASK_QUEUES["promptmill.deliver"],
            )


def put_off(group: WorkerGroup) -> int:
    """Return how often a worker delayed a delivery."""
    logs = "".join(log.read_text() for log in group.folder.glob("*.log"))
    return sum(".deliver] retry: " in line for line in logs.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("fast", [3600.0, -3600.0])
def test_a_worker_whose_clock_is_an_hour_wrong_takes_nothing_from_another(
    groups: WorkerGroups, fast: float
) -> None:
    with groups.create_group(f"clock{fast:+.0f}") as group:
        group.work(fast=fast)
        group.work()
        run = group.submit()
        group.wait(run)

        assert group.violations(run) == []


def test_a_worker_that_stands_still_is_overtaken_and_does_no_harm_when_it_goes_on(
    groups: WorkerGroups,
) -> None:
    with groups.create_group("frozen") as group:
        frozen = group.work()
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        os.kill(frozen.pid or 0, signal.SIGSTOP)
        group.work()
        try:
            group.wait(run)
        finally:
            os.kill(frozen.pid or 0, signal.SIGCONT)
        wait_until(
            lambda: not group.redis.hlen("promptmill.unacked"),
            "an end of what the other had begun",
        )

        assert group.violations(run) == []
        assert len(group.stack.jobs(run.id)) == 2
