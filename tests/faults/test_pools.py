"""A worker dies around each effect on a pool. Each request is in one run, paid once."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count, product
from typing import get_args

import pytest

from faults.crashing import STRUCK, Crash, When
from faults.effects import first_and_last
from faults.worker_group import LOOK, WorkerGroup, WorkerGroups
from promptmill.producers import Result, Run
from support.waiting import PATIENCE, wait_until

AROUND_A_CUT = [
    "create pools/*",
    "remove_calls collected",
    "create cuts/*.json",
    "create runs/*/cut-done",
]
"""Effects around which a crash could lose pooled requests or send them twice."""
OF_A_RUN = [
    "create open/*",
    "create runs/*/run.json",
    "create runs/*/chunks/*",
    "create runs/*/seal.json",
]
CALLS = range(4)
LATER_CALLS = range(4, 8)
POOLS = {
    "PROMPTMILL_POOL_REQUESTS": "6",
    "PROMPTMILL_POOL_SECONDS": "1",
    "PROMPTMILL_MAX_REQUESTS_PER_JOB": "100",
}
FIRST = Counter({"same": 2} | {f"t-{number}": 1 for number in CALLS})
ALL = FIRST + Counter(f"t-{number}" for number in LATER_CALLS)
"""Requests with one key and different content are both answered; a repeat is answered once."""

numbers = count()


def test_a_worker_may_die_around_what_decides_which_request_is_in_which_run(
    groups: WorkerGroups,
) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_CUT, get_args(When))]

    assert sweep(groups, crashes) == {}


def test_redis_may_be_wiped_when_what_was_collected_is_stored(groups: WorkerGroups) -> None:
    places = [
        ("remove_calls collected", "after"),
        *product((*AROUND_A_CUT[2:], *OF_A_RUN), get_args(When)),
    ]
    wipes = [Crash(effect, when, deed="wipe") for effect, when in places]

    assert sweep(groups, wipes) == {}


@pytest.mark.slow
def test_a_worker_may_die_before_and_after_each_effect_of_a_pool(groups: WorkerGroups) -> None:
    with groups.create_group("pool-nobody-dies", POOLS) as group:
        collect(group)
        group.work()
        assert wrong(group, FIRST) == []
        effects = [one for one in first_and_last(group.journal_lines()) if is_of_a_pool(one[0])]
    crashes = [Crash(effect, when, nth) for (effect, nth), when in product(effects, get_args(When))]

    assert {crash.effect for crash in crashes} >= {*AROUND_A_CUT, *OF_A_RUN}
    assert sweep(groups, crashes) == {}


def is_of_a_pool(effect: str) -> bool:
    return effect in OF_A_RUN or any(
        word in effect
        for word in (
            "pool",
            "cut",
            "collected",
            "batch",
            "promptmill.plan",
            "chunk index",
            "seal index",
        )
    )


def sweep(groups: WorkerGroups, crashes: Sequence[Crash]) -> dict[str, list[str]]:
    """Apply each crash to a worker; return the violations."""
    found = groups.sweep(lambda crash: strike_and_go_on(groups, crash), crashes)
    return {
        str(crash): breaches for crash, breaches in zip(crashes, found, strict=True) if breaches
    }


def strike_and_go_on(groups: WorkerGroups, crash: Crash) -> list[str]:
    """Crash a worker or wipe Redis while it stores a full pool, then enqueue more."""
    with groups.create_group(f"pool-{crash.deed}-{next(numbers)}", POOLS) as group:
        collect(group)
        worker = group.work(crash)
        try:
            wait_until(lambda: STRUCK in group.journal_lines(), f"the moment {crash}")
            if crash.deed == "die":
                worker.join(PATIENCE)
            collect_more(group)
            group.revive()
            return wrong(group, ALL)
        except AssertionError as late:
            return [f"{late}\n{group.log()[-1500:]}"]


def collect(group: WorkerGroup) -> None:
    """Enqueue enough for one run, and a rest for a second one."""
    _collect(group, CALLS)
    group.client.enqueue("Say one thing", key="same", pool="tickets")
    group.client.enqueue(
        [{"key": "same", "prompt": "Say one thing"}], pool="tickets", name="tickets"
    )
    group.client.enqueue("Say another thing", key="same", pool="tickets")


def collect_more(group: WorkerGroup) -> None:
    """Enqueue requests that enter a run only because of their age."""
    _collect(group, LATER_CALLS)


def _collect(group: WorkerGroup, calls: Iterable[int]) -> None:
    for number in calls:
        group.client.enqueue(f"Say {number}", key=f"t-{number}", pool="tickets")


def wrong(group: WorkerGroup, wanted: Counter[str]) -> list[str]:
    """Wait until all pooled requests are done; return the violations."""
    deadline = time.monotonic() + PATIENCE
    while not is_through(group) or wanted - (found := answered(group)):
        assert time.monotonic() < deadline, (
            f"{group.name} is not through: {[one.name for one in group.bucket.list('')]}"
        )
        time.sleep(LOOK)
    jobs = {run.id: len(group.stack.jobs(run.id)) for run in reported(group)}
    breaches = [f"answered {found}"] * bool(found - wanted)
    breaches += [f"jobs {jobs}"] * (set(jobs.values()) != {1})
    return breaches + [f"parked {group.parked()}"] * bool(group.parked())


def is_through(group: WorkerGroup) -> bool:
    """Return whether the pool is empty and no run is open."""
    return not group.redis.xlen("promptmill:collected:v1") and not any(group.bucket.list("open/"))


def answered(group: WorkerGroup) -> Counter[str]:
    """Return the number of results of each key."""
    return Counter(result.key for run in reported(group) for result in once(run))


def once(run: Run) -> list[Result]:
    """Return the results of a run; no two may be equal."""
    results = list(run.results())
    assert len({(result.key, result.text) for result in results}) == len(results)
    return results


def reported(group: WorkerGroup) -> list[Run]:
    names = [
        stored.name for stored in group.bucket.list("runs/") if stored.name.endswith("/report.json")
    ]
    return [Run(name.split("/")[1], group.client) for name in names]
