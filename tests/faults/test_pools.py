"""A worker dies around each effect of storing and cutting what was collected; each request is in one run, paid for once."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count, product
from typing import get_args

import pytest

from faults.crashing import STRUCK, Crash, When
from faults.effects import first_and_last
from faults.mills import LOOK, Mill, Mills
from promptmill.producers import Result, Run
from support.waiting import PATIENCE, wait_until

AROUND_A_CUT = [
    "create pools/*",
    "remove_calls collected",
    "create cuts/*.json",
    "create runs/*/cut-done",
]
"""Where a death could lose what was collected, or have it sent twice."""
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
"""Two requests with one key and other content are both answered; one that came twice is once."""

numbers = count()


def test_a_worker_may_die_around_what_decides_which_request_is_in_which_run(mills: Mills) -> None:
    crashes = [Crash(effect, when) for effect, when in product(AROUND_A_CUT, get_args(When))]

    assert sweep(mills, crashes) == {}


def test_redis_may_be_wiped_when_what_was_collected_is_stored(mills: Mills) -> None:
    places = [
        ("remove_calls collected", "after"),
        *product((*AROUND_A_CUT[2:], *OF_A_RUN), get_args(When)),
    ]
    wipes = [Crash(effect, when, deed="wipe") for effect, when in places]

    assert sweep(mills, wipes) == {}


@pytest.mark.slow
def test_a_worker_may_die_before_and_after_each_effect_of_a_pool(mills: Mills) -> None:
    with mills.mill("pool-nobody-dies", POOLS) as mill:
        collect(mill)
        mill.work()
        assert wrong(mill, FIRST) == []
        effects = [one for one in first_and_last(mill.journal_lines()) if is_of_a_pool(one[0])]
    crashes = [Crash(effect, when, nth) for (effect, nth), when in product(effects, get_args(When))]

    assert {crash.effect for crash in crashes} >= {*AROUND_A_CUT, *OF_A_RUN}
    assert sweep(mills, crashes) == {}


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


def sweep(mills: Mills, crashes: Sequence[Crash]) -> dict[str, list[str]]:
    """Let each of these happen to a worker; returns what is wrong afterwards."""
    found = mills.sweep(lambda crash: strike_and_go_on(mills, crash), crashes)
    return {
        str(crash): breaches for crash, breaches in zip(crashes, found, strict=True) if breaches
    }


def strike_and_go_on(mills: Mills, crash: Crash) -> list[str]:
    """Let a worker take at once all that was collected; it dies or Redis is wiped, after which more is collected."""
    with mills.mill(f"pool-{crash.deed}-{next(numbers)}", POOLS) as mill:
        collect(mill)
        worker = mill.work(crash)
        try:
            wait_until(lambda: STRUCK in mill.journal_lines(), f"the moment {crash}")
            if crash.deed == "die":
                worker.join(PATIENCE)
            collect_more(mill)
            mill.revive()
            return wrong(mill, ALL)
        except AssertionError as late:
            return [f"{late}\n{mill.log()[-1500:]}"]


def collect(mill: Mill) -> None:
    """Collect enough for a run, and what has to wait for a second one."""
    _collect(mill, CALLS)
    mill.client.enqueue("Say one thing", key="same", pool="tickets")
    mill.client.enqueue(
        [{"key": "same", "prompt": "Say one thing"}], pool="tickets", name="tickets"
    )
    mill.client.enqueue("Say another thing", key="same", pool="tickets")


def collect_more(mill: Mill) -> None:
    """Collect what is in a run by its age alone."""
    _collect(mill, LATER_CALLS)


def _collect(mill: Mill, calls: Iterable[int]) -> None:
    for number in calls:
        mill.client.enqueue(f"Say {number}", key=f"t-{number}", pool="tickets")


def wrong(mill: Mill, wanted: Counter[str]) -> list[str]:
    """Wait until all is done that was collected; returns what is wrong then."""
    deadline = time.monotonic() + PATIENCE
    while not is_through(mill) or wanted - (found := answered(mill)):
        assert time.monotonic() < deadline, (
            f"{mill.name} is not through: {[one.name for one in mill.bucket.list('')]}"
        )
        time.sleep(LOOK)
    jobs = {run.id: len(mill.site.jobs(run.id)) for run in reported(mill)}
    breaches = [f"answered {found}"] * bool(found - wanted)
    breaches += [f"jobs {jobs}"] * (set(jobs.values()) != {1})
    return breaches + [f"parked {mill.parked()}"] * bool(mill.parked())


def is_through(mill: Mill) -> bool:
    """Whether nothing waits to be stored, and no run is open."""
    return not mill.redis.xlen("promptmill:collected:v1") and not any(mill.bucket.list("open/"))


def answered(mill: Mill) -> Counter[str]:
    """How many results there are of each key."""
    return Counter(result.key for run in reported(mill) for result in once(run))


def once(run: Run) -> list[Result]:
    """The results of a run, of which no two may be the same."""
    results = list(run.results())
    assert len({(result.key, result.text) for result in results}) == len(results)
    return results


def reported(mill: Mill) -> list[Run]:
    names = [
        stored.name for stored in mill.bucket.list("runs/") if stored.name.endswith("/report.json")
    ]
    return [Run(name.split("/")[1], mill.client) for name in names]
