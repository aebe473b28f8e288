"""A worker dies right before and right after each of its effects; whatever was under way is done, and paid for, once."""

import json
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, product
from typing import Any, get_args

import pytest

from faults.crashing import Crash, Deed, Pool, When
from faults.effects import depends_on_time, first_and_last
from faults.worker_group import WorkerGroup, WorkerGroups
from promptmill.producers import Run
from support.local_stack import LocalStack
from support.waiting import PATIENCE, wait_until

AROUND_A_CREATION = [f"create runs/*/shards/*/*/{fact}.json" for fact in ("intent", "job")] + [
    "create job"
]
"""Where a death may cost money."""
AROUND_A_REPAIR = [f"create runs/*/shards/*/*/{fact}.json" for fact in ("repairs", "settled")]
"""Where a death may change what a row is asked again."""
AROUND_A_CALL = ["send callback", "create runs/*/callbacks/link0.json", "send promptmill.callback"]
"""Where a death may cost the caller word of its run. The first calls are slices of results, the last is of the run's end."""
AROUND_WHAT_IS_NOT_ASKED = [
    "write runs/*/answered/*",
    "write runs/*/shards/*/*/results/reused-*.jsonl",
    "create runs/*/shards/*/*/reused.json",
    "create runs/*/shards/*/*/copies.json",
]
"""Where a death may cost a row the answer that it has without being asked."""
ONE_OF_EACH_KIND = [
    "create runs/*/chunks/*",
    "write_stream runs/*/shards/*/*/input.jsonl",
    "create runs/*/shards/*/*/ended.json",
    "deliver file",
    "finish file",
    "send promptmill.parse",
    "set_shard index",
    "add_job note",
    "delete open/*",
]
"""Deaths in a pool do not differ by what was under way; those of the whole worker are swept with the solo pool."""
DEATHS: tuple[Deed, ...] = ("die", "die whole")
"""Seconds from the death of a worker to the end of its run, at most; it is about 10 on a machine with nothing else to do."""
"""Seconds that a run may take until the moment of death, with fifteen others on the same two processors."""

CANCELLATION = "create runs/*/cancelled.json"
CANCELLED_MODEL = "gemini-3.5-flash-lite"

numbers = count()


WANTED: dict[str, Any] = {
    "response_schema": {"type": "object", "properties": {"said": {"type": "string"}}},
    "retry_schema_invalid": True,
    "link": {"task": "shop.notify"},
    "link_results": {"task": "shop.store"},
}
"""What the runs here want of their answers."""


@pytest.fixture(scope="module")
def a_row_fails_once(servers: LocalStack) -> Iterator[None]:
    """One row of each run's first job fails in a way that may pass, and one does not fit: there is a second attempt."""
    match = {"label.shard": "0", "label.attempt": "1"}
    servers.fault("output", "error", times=None, count=1, code=429, match=match)
    servers.fault("output", "off-schema", times=None, count=1, seed=1, match=match)
    yield
    servers.clear_faults()


@pytest.fixture(scope="module")
def effects(a_row_fails_once: None, groups: WorkerGroups) -> list[tuple[str, int]]:
    """All effects of a run in which nobody dies."""
    with groups.create_group("nobody-dies") as group:
        group.work()
        run = submit(group)
        group.wait(run)
        assert group.violations(run) + uncalled(group, run) == []
        assert len(group.stack.jobs(run.id)) == 3
        return first_and_last(group.journal_lines())


@dataclass(frozen=True)
class Ending:
    """How a run ended in which a worker died; `seconds` from its death."""

    crash: Crash
    seconds: float
    violations: list[str]


@pytest.mark.usefixtures("a_row_fails_once")
def test_a_worker_may_die_around_the_creation_of_a_job(groups: WorkerGroups) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_CREATION, get_args(When))]

    endings = sweep(groups, crashes)

    tell(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.usefixtures("a_row_fails_once")
def test_a_worker_may_die_around_what_it_keeps_of_answers_that_do_not_fit(
    groups: WorkerGroups,
) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_REPAIR, get_args(When))]

    endings = sweep(groups, crashes)

    tell(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.usefixtures("a_row_fails_once")
def test_a_worker_may_die_around_its_calls_to_the_caller(groups: WorkerGroups) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_CALL, get_args(When))]
    crashes += [Crash("send callback", when, nth=4) for when in get_args(When)]

    endings = sweep(groups, crashes)

    tell(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


def test_a_worker_may_die_around_what_is_answered_without_being_asked(groups: WorkerGroups) -> None:
    """Three of ten rows have the answers of an earlier run, and two those of others."""
    crashes = [
        Crash(effect, when) for effect, when in product(AROUND_WHAT_IS_NOT_ASKED, get_args(When))
    ]
    # The first mark of a run that is done is that of the earlier one.
    crashes += [Crash("create done/*", when, nth=2) for when in get_args(When)]

    endings = sweep(groups, crashes, start=submit_what_was_asked_before)

    tell(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.slow
def test_a_worker_may_die_before_and_after_each_of_its_effects(
    groups: WorkerGroups, effects: list[tuple[str, int]]
) -> None:
    crashes = [Crash(effect, when, nth) for (effect, nth), when in product(effects, get_args(When))]

    endings = sweep(groups, crashes)

    tell(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.slow
@pytest.mark.usefixtures("a_row_fails_once")
def test_a_process_of_a_pool_and_its_whole_worker_may_die_around_what_costs_and_each_kind_of_effect(
    groups: WorkerGroups,
) -> None:
    places = product(AROUND_A_CREATION + ONE_OF_EACH_KIND, get_args(When), DEATHS)
    crashes = [Crash(effect, when, deed=deed) for effect, when, deed in places]

    endings = sweep(groups, crashes, pool="prefork")

    tell(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.slow
def test_a_worker_may_die_around_each_effect_of_a_cancellation(
    groups: WorkerGroups, servers: LocalStack
) -> None:
    """The jobs wait in Vertex's queue until they are cancelled, so that there is something to cancel."""
    servers.fault("job", "queued", times=None, match={"model": f"*/{CANCELLED_MODEL}"})
    with groups.create_group("cancelled") as group:
        group.work()
        run = submit_and_cancel(group)
        group.wait(run)
        assert group.violations(run) == []
        lines = group.journal_lines()
        effects = first_and_last(lines[lines.index(CANCELLATION) :])
    crashes = [
        Crash(effect, when)
        for (effect, nth), when in product(effects, get_args(When))
        if nth == 1 and not depends_on_time(effect)
    ]

    endings = sweep(groups, crashes, start=submit_and_cancel)

    tell(endings)
    assert {"create job", "cancel job"} & {crash.effect for crash in crashes} == {"cancel job"}
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


def submit_and_cancel(group: WorkerGroup) -> Run:
    """Submit a run, and cancel it when its jobs wait in the queue."""
    run = group.submit(model=CANCELLED_MODEL)
    wait_until(lambda: len(group.stack.jobs(run.id)) == 2, "two jobs")
    run.cancel()
    return run


def submit_what_was_asked_before(group: WorkerGroup) -> Run:
    """Submit a run, and when that is done another that asks the same three times, and twice the same itself."""
    group.wait(group.submit(3, sinks=[]))
    return group.submit((1, 2, 3, 4, 4, 5, 6, 7, 7, 8), reuse_answers=True)


def submit(group: WorkerGroup) -> Run:
    """Submit a run that has every kind of effect."""
    return group.submit(**WANTED)


def sweep(
    groups: WorkerGroups,
    crashes: list[Crash],
    pool: Pool = "solo",
    start: Callable[[WorkerGroup], Run] = submit,
) -> list[Ending]:
    """Let a worker die at each of these moments, many beside each other."""
    return groups.sweep(lambda crash: die_and_go_on(groups, crash, pool, start), crashes)


def die_and_go_on(
    groups: WorkerGroups, crash: Crash, pool: Pool, start: Callable[[WorkerGroup], Run]
) -> Ending:
    """Let one worker die, and another one bring its run to the end."""
    with groups.create_group(f"crash-{next(numbers)}") as group:
        doomed = group.work(crash, pool=pool)
        run = start(group)
        try:
            if not group.strikes(run, "the moment of death"):
                missed = (
                    []
                    if depends_on_time(crash.effect)
                    else ["the run ended without the moment of death"]
                )
                return Ending(crash, 0.0, group.violations(run) + missed)
            death = time.monotonic()
            if (pool, crash.deed) != ("prefork", "die"):
                doomed.join(PATIENCE)
                group.work(pool=pool)
            group.wait(run)
        except AssertionError as late:
            return Ending(crash, PATIENCE, [str(late)])
        wrong = uncalled(group, run) if start is submit else []
        if start is submit_what_was_asked_before:
            wrong = asked_again(run)
        return Ending(crash, time.monotonic() - death, group.violations(run) + wrong)


def asked_again(run: Run) -> list[str]:
    """What is wrong with a run of whose rows some are not to be asked."""
    report = run.report()
    return [f"{report.reused} rows are reused, {report.deduplicated} copies"] * (
        (report.reused, report.deduplicated) != (3, 2)
    )


def uncalled(group: WorkerGroup, run: Run) -> list[str]:
    """What is wrong with the calls that wait in the caller's queue: the end once or more, all results, copies the same."""
    held: Any = group.redis.lrange("celery", 0, -1)
    bodies: dict[str, set[str]] = {}
    for message in map(json.loads, held):
        bodies.setdefault(message["headers"]["id"], set()).add(message["body"])
    first_arguments = {
        one: json.loads(b64decode(min(copies)))[0][0] for one, copies in bodies.items()
    }
    ends = [
        argument["state"] for one, argument in first_arguments.items() if one == f"{run.id}.link0"
    ]
    keys = sorted(
        (
            result["key"]
            for one, part in first_arguments.items()
            if ".results0." in one
            for result in part
        ),
        key=int,
    )
    wrong = [
        f"{one} was sent with different arguments"
        for one, copies in bodies.items()
        if len(copies) > 1
    ]
    wrong += [f"the end was told as {ends}"] * (ends != ["succeeded"])
    return wrong + [f"the results of {keys} were handed over"] * (
        keys != [str(row) for row in range(1, 11)]
    )


def tell(endings: list[Ending]) -> None:
    """Print how long each run took to end after the death of its worker."""
    for ending in sorted(endings, key=lambda ending: -ending.seconds):
        print(f"{ending.seconds:5.1f} s  {ending.crash}")  # noqa: T201 - a measurement
