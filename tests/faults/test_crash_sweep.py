"""A worker dies right before and after each of its effects. The run still completes, paid once."""

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
"""Effects around which a crash could cost money."""
AROUND_A_REPAIR = [f"create runs/*/shards/*/*/{fact}.json" for fact in ("repairs", "settled")]
"""Effects around which a crash could change the repeated request of a row."""
AROUND_A_CALL = ["send callback", "create runs/*/callbacks/link0.json", "send promptmill.callback"]
"""Effects around which a crash could lose a callback.

The first callbacks carry results. The last one reports the end of the run.
"""
AROUND_WHAT_IS_NOT_ASKED = [
    "write runs/*/answered/*",
    "write runs/*/shards/*/*/results/reused-*.jsonl",
    "create runs/*/shards/*/*/reused.json",
    "create runs/*/shards/*/*/copies.json",
]
"""Effects around which a crash could lose a reused answer."""
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
"""Crashes of a pool process; the sweep with the solo pool covers those of the whole worker."""
DEATHS: tuple[Deed, ...] = ("die", "die whole")
"""Maximum seconds from the crash to the end of the run; about 10 on an idle machine."""
"""Maximum seconds until the crash, with fifteen other runs on two processors."""

CANCELLATION = "create runs/*/cancelled.json"
CANCELLED_MODEL = "gemini-3.5-flash-lite"

numbers = count()


WANTED: dict[str, Any] = {
    "response_schema": {"type": "object", "properties": {"said": {"type": "string"}}},
    "retry_schema_invalid": True,
    "link": {"task": "shop.notify"},
    "link_results": {"task": "shop.store"},
}
"""The response schema of the runs."""


@pytest.fixture(scope="module")
def a_row_fails_once(servers: LocalStack) -> Iterator[None]:
    """Force a second attempt: one row fails transiently, and one violates the schema."""
    match = {"label.shard": "0", "label.attempt": "1"}
    servers.fault("output", "error", times=None, count=1, code=429, match=match)
    servers.fault("output", "off-schema", times=None, count=1, seed=1, match=match)
    yield
    servers.clear_faults()


@pytest.fixture(scope="module")
def effects(a_row_fails_once: None, groups: WorkerGroups) -> list[tuple[str, int]]:
    """Return all effects of a run without a crash."""
    with groups.create_group("nobody-dies") as group:
        group.work()
        run = submit(group)
        group.wait(run)
        assert group.violations(run) + uncalled(group, run) == []
        assert len(group.stack.jobs(run.id)) == 3
        return first_and_last(group.journal_lines())


@dataclass(frozen=True)
class Ending:
    """The end of a run after a crash. ``seconds`` count from the crash."""

    crash: Crash
    seconds: float
    violations: list[str]


@pytest.mark.usefixtures("a_row_fails_once")
def test_a_worker_may_die_around_the_creation_of_a_job(groups: WorkerGroups) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_CREATION, get_args(When))]

    endings = sweep(groups, crashes)

    print_durations(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.usefixtures("a_row_fails_once")
def test_a_worker_may_die_around_what_it_keeps_of_answers_that_do_not_fit(
    groups: WorkerGroups,
) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_REPAIR, get_args(When))]

    endings = sweep(groups, crashes)

    print_durations(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.usefixtures("a_row_fails_once")
def test_a_worker_may_die_around_its_calls_to_the_caller(groups: WorkerGroups) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_CALL, get_args(When))]
    crashes += [Crash("send callback", when, nth=4) for when in get_args(When)]

    endings = sweep(groups, crashes)

    print_durations(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


def test_a_worker_may_die_around_what_is_answered_without_being_asked(groups: WorkerGroups) -> None:
    """Three of ten rows reuse answers of an earlier run, and two are repeats."""
    crashes = [
        Crash(effect, when) for effect, when in product(AROUND_WHAT_IS_NOT_ASKED, get_args(When))
    ]
    # The first mark of a run that is done is that of the earlier one.
    crashes += [Crash("create done/*", when, nth=2) for when in get_args(When)]

    endings = sweep(groups, crashes, start=submit_what_was_asked_before)

    print_durations(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.slow
def test_a_worker_may_die_before_and_after_each_of_its_effects(
    groups: WorkerGroups, effects: list[tuple[str, int]]
) -> None:
    crashes = [Crash(effect, when, nth) for (effect, nth), when in product(effects, get_args(When))]

    endings = sweep(groups, crashes)

    print_durations(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.slow
@pytest.mark.usefixtures("a_row_fails_once")
def test_a_process_of_a_pool_and_its_whole_worker_may_die_around_what_costs_and_each_kind_of_effect(
    groups: WorkerGroups,
) -> None:
    places = product(AROUND_A_CREATION + ONE_OF_EACH_KIND, get_args(When), DEATHS)
    crashes = [Crash(effect, when, deed=deed) for effect, when, deed in places]

    endings = sweep(groups, crashes, pool="prefork")

    print_durations(endings)
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


@pytest.mark.slow
def test_a_worker_may_die_around_each_effect_of_a_cancellation(
    groups: WorkerGroups, servers: LocalStack
) -> None:
    """The jobs stay queued at Vertex until they are cancelled."""
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

    print_durations(endings)
    assert {"create job", "cancel job"} & {crash.effect for crash in crashes} == {"cancel job"}
    assert {str(ending.crash): ending.violations for ending in endings if ending.violations} == {}


def submit_and_cancel(group: WorkerGroup) -> Run:
    """Submit a run, and cancel it when its jobs are queued."""
    run = group.submit(model=CANCELLED_MODEL)
    wait_until(lambda: len(group.stack.jobs(run.id)) == 2, "two jobs")
    run.cancel()
    return run


def submit_what_was_asked_before(group: WorkerGroup) -> Run:
    """Submit a run, then one that repeats three of its requests and two of its own."""
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
    """Crash a worker at each of these moments, with many runs concurrently."""
    return groups.sweep(lambda crash: die_and_go_on(groups, crash, pool, start), crashes)


def die_and_go_on(
    groups: WorkerGroups, crash: Crash, pool: Pool, start: Callable[[WorkerGroup], Run]
) -> Ending:
    """Crash one worker, and let another one complete its run."""
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
    """Return violations in a run in which some rows must not be sent."""
    report = run.report()
    return [f"{report.reused} rows are reused, {report.deduplicated} copies"] * (
        (report.reused, report.deduplicated) != (3, 2)
    )


def uncalled(group: WorkerGroup, run: Run) -> list[str]:
    """Return violations in the callbacks: every result and the end, at least once each."""
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
    wrong += [f"the end was reported as {ends}"] * (ends != ["succeeded"])
    return wrong + [f"the results of {keys} were handed over"] * (
        keys != [str(row) for row in range(1, 11)]
    )


def print_durations(endings: list[Ending]) -> None:
    """Print how long each run took to end after the death of its worker."""
    for ending in sorted(endings, key=lambda ending: -ending.seconds):
        print(f"{ending.seconds:5.1f} s  {ending.crash}")  # noqa: T201 - a measurement
