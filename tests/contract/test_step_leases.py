"""What workers note for each other of the starts of a step: in Redis, and in the one in memory."""

import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from faults.simulation.memory import Redis
from promptmill.producers.contract.connection import Connection
from promptmill.workers.coordination.step_leases import LeaseState, StepLeases
from support.waiting import wait_until

LIFE = 2.0
"""Seconds of a lease that a test lets expire."""
LONG = 600.0
"""Seconds of a lease that does not expire during a test."""
MOST = 3


@pytest.fixture(params=["fake", "real"])
def leases(request: pytest.FixtureRequest) -> StepLeases:
    """Leases of a worker."""
    if request.param == "real":
        return StepLeases(Connection(request.getfixturevalue("broker")))
    redis = Redis(time.time)
    connection: Any = SimpleNamespace(use_client=lambda: nullcontext(redis))
    return StepLeases(connection)


@pytest.fixture
def step(request: pytest.FixtureRequest) -> str:
    """A step of the test's own."""
    return f"{request.node.name}.finish"


def begun(leases: StepLeases, step: str, start: str) -> LeaseState:
    """Begin as soon as no other start is at work, and return those that have not ended."""
    wait_until(lambda: not asked(leases, step).busy_seconds, "an end of the one at work")
    return leases.acquire(step, start, LIFE, MOST)


def asked(leases: StepLeases, step: str) -> LeaseState:
    """The starts that have not ended, by one that does not begin."""
    return leases.acquire(step, "asking", LIFE, 0)


def test_no_start_of_a_step_begins_while_another_is_at_work(leases: StepLeases, step: str) -> None:
    assert leases.acquire(step, "first", LONG, MOST) == LeaseState()

    duplicate = leases.acquire(step, "duplicate", LONG, MOST)

    assert (duplicate.crashes, duplicate.live) == (0, 1)
    assert 0 < duplicate.busy_seconds <= LONG / 2
    assert leases.acquire("another", "duplicate", LONG, MOST) == LeaseState()


def test_a_start_that_goes_on_is_at_work_for_longer(leases: StepLeases, step: str) -> None:
    leases.acquire(step, "first", LIFE, MOST)
    wait_until(lambda: asked(leases, step).busy_seconds < LIFE / 4, "half of the time")

    leases.renew(step, "first", LONG)

    assert asked(leases, step).busy_seconds > LIFE


def test_a_start_that_ended_is_not_at_work(leases: StepLeases, step: str) -> None:
    leases.acquire(step, "first", LONG, MOST)
    leases.release(step, "first", succeeded=False, retention=0.0)

    assert leases.acquire(step, "second", LONG, MOST) == LeaseState()


def test_one_that_says_nothing_for_half_its_time_may_be_dead_and_surely_is_after_all_of_it(
    leases: StepLeases, step: str
) -> None:
    leases.acquire(step, "first", LIFE, MOST)

    second = begun(leases, step, "second")
    leases.release(step, "second", succeeded=False, retention=0.0)
    wait_until(lambda: asked(leases, step).crashes == 1, "a death")

    assert second == LeaseState(crashes=0, live=1)


def test_copies_that_would_have_died_together_are_one_death(leases: StepLeases, step: str) -> None:
    for death in range(MOST):
        assert begun(leases, step, f"first {death}").crashes <= death
        for copy in range(5):
            assert leases.acquire(step, f"copy {death}.{copy}", LIFE, MOST).busy_seconds
        wait_until(
            lambda before=death: asked(leases, step).crashes == before + 1,  # type: ignore[misc]
            "one more death",
        )

    assert leases.acquire(step, "last", LIFE, MOST) == LeaseState(crashes=MOST)
