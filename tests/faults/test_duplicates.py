"""Messages arrive twice, late or in any order. The outcome and the bill stay the same."""

import json
import random
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from faults.worker_group import WorkerGroup, WorkerGroups, behind
from promptmill.config.queues import ALL_QUEUES, INGEST, TASK_QUEUES, WORK
from promptmill.producers import Run
from support.proxy import HttpProxy
from support.waiting import wait_until

EVERY = float("inf")
READ_BY_FINISH = "/download/.*delivered.*"


def test_every_message_may_come_twice_and_to_two_workers(groups: WorkerGroups) -> None:
    with groups.create_group("twice") as group:
        run = group.submit()
        again(group, waiting(group))
        for _ in range(2):
            group.work(copies=2)
        group.wait(run)

        assert group.violations(run) == []


@pytest.mark.slow
def test_every_message_may_come_five_times(groups: WorkerGroups) -> None:
    with groups.create_group("five-times") as group:
        run = group.submit()
        again(group, waiting(group) * 4)
        for _ in range(3):
            group.work(copies=5)
        group.wait(run)

        assert group.violations(run) == []


def test_copies_of_a_message_do_not_make_copies_of_all_that_comes_after_it(
    groups: WorkerGroups,
) -> None:
    with groups.create_group("merged", {"PROMPTMILL_TAKEOVER_SECONDS": "600"}) as group:
        run = group.submit()
        again(group, waiting(group) * 20)
        group.work()
        group.wait(run)
        wait_until(lambda: at_rest(group), "an end of the copies")

        times = Counter(
            task for name, _, task in sent(group.folder / "sent") if name != "promptmill.poll"
        )
        assert {step: copies for step, copies in times.items() if copies > 1} == {}
        assert group.violations(run) == []


def test_duplicates_of_a_step_that_die_with_their_workers_count_as_one_crash(
    groups: WorkerGroups, storage: HttpProxy
) -> None:
    with groups.create_group("dying-copies", behind(storage)) as group:
        storage.fail("GET", READ_BY_FINISH, times=EVERY)
        run = group.submit()
        finish = ("promptmill.finish", [run.id], f"{run.id}.finish")
        for _ in range(2):
            before = len(storage.seen("GET", READ_BY_FINISH))
            for _ in range(3):
                group.work()
            wait_until(
                lambda before=before: len(storage.seen("GET", READ_BY_FINISH)) > before,  # type: ignore[misc]
                "a last step",
            )
            resend(group, [finish] * 6)
            wait_until(lambda: group.redis.llen(WORK) == 0, "all copies in workers' hands")
            group.kill()
        storage.clear()
        group.work()
        group.wait(run)

        assert group.parked() == []
        assert group.violations(run) == []


def test_all_messages_of_a_run_once_more_after_its_end_and_in_any_order_change_nothing(
    groups: WorkerGroups,
) -> None:
    with groups.create_group("late") as group:
        run = group.submit()
        first = waiting(group)
        group.work()
        group.wait(run)
        before = traces(group, run)

        again(group, first)
        resend(group, sent(group.folder / "sent"))

        wait_until(lambda: at_rest(group) and group.ended(run), "an end of the old messages")
        after = traces(group, run)
        changed = {kind: len(set(after[kind]) ^ set(before[kind])) for kind in ("objects", "rows")}
        print(f"replayed: {changed['objects']} objects and {changed['rows']} rows changed")  # noqa: T201 - a measurement
        assert after == before
        assert group.violations(run) == []
        assert run.status.state == "succeeded"


def test_many_reconcilers_at_once_send_nothing_twice_that_costs(groups: WorkerGroups) -> None:
    with groups.create_group("reconcilers") as group:
        run = group.submit()
        for _ in range(3):
            group.work()
        with Celery(broker=group.environment["CELERY_BROKER_URL"], set_as_current=False) as sender:
            for _ in range(30):
                sender.send_task("promptmill.reconcile", queue=TASK_QUEUES["promptmill.reconcile"])
        group.wait(run)

        assert group.violations(run) == []
        assert len(group.stack.jobs(run.id)) == 2


def waiting(group: WorkerGroup) -> list[bytes]:
    """Return the queued messages with chunks, as stored in Redis."""
    found: Any = group.redis.lrange(INGEST, 0, -1)
    assert len(found) > 1
    return list(found)


def again(group: WorkerGroup, messages: list[bytes]) -> None:
    """Let the broker deliver these messages again, in reverse order."""
    for message in messages:
        group.redis.lpush(INGEST, message)


def sent(file: Path) -> list[tuple[str, list[Any], str]]:
    """Return the tasks that workers sent."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [(name, args, task) for name, args, task in found]


def resend(group: WorkerGroup, tasks: list[tuple[str, list[Any], str]]) -> None:
    """Send these tasks again, in random order."""
    random.Random(7).shuffle(tasks)
    with Celery(broker=group.environment["CELERY_BROKER_URL"], set_as_current=False) as sender:
        for name, args, task in tasks:
            sender.send_task(name, args=args, task_id=task, queue=TASK_QUEUES[name])


def at_rest(group: WorkerGroup) -> bool:
    """Return whether no message is queued or held by a worker."""
    return not any(group.redis.llen(queue) for queue in ALL_QUEUES) and not group.redis.hlen(
        "promptmill.unacked"
    )


def traces(group: WorkerGroup, run: Run) -> dict[str, Any]:
    """Return what a run left: its objects by generation, its jobs, and its rows in both sinks."""
    objects = [(stored.name, stored.generation) for stored in group.bucket.list(f"runs/{run.id}/")]
    with closing(group.answers.open("rb")) as file:
        return {
            "objects": objects,
            "jobs": group.stack.jobs(run.id),
            "rows": sorted(file),
            "report": run.report(),
        }
