"""Messages that come twice, late, or in any order: the outcome is the same, and nothing is paid for again."""

import json
import random
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from faults.mills import Mill, Mills, behind
from promptmill.config.queues import ALL_QUEUES, INGEST, TASK_QUEUES, WORK
from promptmill.producers import Run
from support.proxy import HttpProxy
from support.waiting import wait_until

EVERY = float("inf")
READ_BY_FINISH = "/download/.*delivered.*"


def test_every_message_may_come_twice_and_to_two_workers(mills: Mills) -> None:
    with mills.mill("twice") as mill:
        run = mill.submit()
        again(mill, waiting(mill))
        for _ in range(2):
            mill.work(copies=2)
        mill.wait(run)

        assert mill.violations(run) == []


@pytest.mark.slow
def test_every_message_may_come_five_times(mills: Mills) -> None:
    with mills.mill("five-times") as mill:
        run = mill.submit()
        again(mill, waiting(mill) * 4)
        for _ in range(3):
            mill.work(copies=5)
        mill.wait(run)

        assert mill.violations(run) == []


def test_copies_of_a_message_do_not_make_copies_of_all_that_comes_after_it(mills: Mills) -> None:
    with mills.mill("merged", {"PROMPTMILL_TAKEOVER_SECONDS": "600"}) as mill:
        run = mill.submit()
        again(mill, waiting(mill) * 20)
        mill.work()
        mill.wait(run)
        wait_until(lambda: at_rest(mill), "an end of the copies")

        times = Counter(
            task for name, _, task in sent(mill.folder / "sent") if name != "promptmill.poll"
        )
        assert {step: copies for step, copies in times.items() if copies > 1} == {}
        assert mill.violations(run) == []


def test_copies_of_a_step_that_die_with_their_workers_are_one_death(
    mills: Mills, storage: HttpProxy
) -> None:
    with mills.mill("dying-copies", behind(storage)) as mill:
        storage.fail("GET", READ_BY_FINISH, times=EVERY)
        run = mill.submit()
        finish = ("promptmill.finish", [run.id], f"{run.id}.finish")
        for _ in range(2):
            before = len(storage.seen("GET", READ_BY_FINISH))
            for _ in range(3):
                mill.work()
            wait_until(
                lambda before=before: len(storage.seen("GET", READ_BY_FINISH)) > before,  # type: ignore[misc]
                "a last step",
            )
            resend(mill, [finish] * 6)
            wait_until(lambda: mill.redis.llen(WORK) == 0, "all copies in workers' hands")
            mill.kill()
        storage.clear()
        mill.work()
        mill.wait(run)

        assert mill.parked() == []
        assert mill.violations(run) == []


def test_all_messages_of_a_run_once_more_after_its_end_and_in_any_order_change_nothing(
    mills: Mills,
) -> None:
    with mills.mill("late") as mill:
        run = mill.submit()
        first = waiting(mill)
        mill.work()
        mill.wait(run)
        before = traces(mill, run)

        again(mill, first)
        resend(mill, sent(mill.folder / "sent"))

        wait_until(lambda: at_rest(mill) and mill.ended(run), "an end of the old messages")
        after = traces(mill, run)
        changed = {kind: len(set(after[kind]) ^ set(before[kind])) for kind in ("objects", "rows")}
        print(f"replayed: {changed['objects']} objects and {changed['rows']} rows changed")  # noqa: T201 - a measurement
        assert after == before
        assert mill.violations(run) == []
        assert run.status.state == "succeeded"


def test_many_reconcilers_at_once_send_nothing_twice_that_costs(mills: Mills) -> None:
    with mills.mill("reconcilers") as mill:
        run = mill.submit()
        for _ in range(3):
            mill.work()
        with Celery(broker=mill.environment["CELERY_BROKER_URL"], set_as_current=False) as sender:
            for _ in range(30):
                sender.send_task("promptmill.reconcile", queue=TASK_QUEUES["promptmill.reconcile"])
        mill.wait(run)

        assert mill.violations(run) == []
        assert len(mill.site.jobs(run.id)) == 2


def waiting(mill: Mill) -> list[bytes]:
    """The messages with chunks that no worker has taken yet, as they lie in Redis."""
    found: Any = mill.redis.lrange(INGEST, 0, -1)
    assert len(found) > 1
    return list(found)


def again(mill: Mill, messages: list[bytes]) -> None:
    """Have the broker deliver these messages once more, the last first."""
    for message in messages:
        mill.redis.lpush(INGEST, message)


def sent(file: Path) -> list[tuple[str, list[Any], str]]:
    """What workers sent."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [(name, args, task) for name, args, task in found]


def resend(mill: Mill, tasks: list[tuple[str, list[Any], str]]) -> None:
    """Send these tasks again, in an order that is no order."""
    random.Random(7).shuffle(tasks)
    with Celery(broker=mill.environment["CELERY_BROKER_URL"], set_as_current=False) as sender:
        for name, args, task in tasks:
            sender.send_task(name, args=args, task_id=task, queue=TASK_QUEUES[name])


def at_rest(mill: Mill) -> bool:
    """Whether no message waits, and none is being worked on."""
    return not any(mill.redis.llen(queue) for queue in ALL_QUEUES) and not mill.redis.hlen(
        "promptmill.unacked"
    )


def traces(mill: Mill, run: Run) -> dict[str, Any]:
    """All that a run left behind: its objects by generation, its jobs, and its rows in both sinks."""
    objects = [(stored.name, stored.generation) for stored in mill.bucket.list(f"runs/{run.id}/")]
    with closing(mill.answers.open("rb")) as file:
        return {
            "objects": objects,
            "jobs": mill.site.jobs(run.id),
            "rows": sorted(file),
            "report": run.report(),
        }
