"""What workers note for each other of the starts of a step: in Redis, and in the one in memory."""

import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from faults.simulation.memory import Redis
from promptmill.producers.contract.connection import Connection
from promptmill.workers.coordination.notes import LeaseState, Notes
from support.waiting import until

LIFE = 1.0
MOST = 3
PATIENCE = 10.0


@pytest.fixture(params=["fake", "real"])
def notes(request: pytest.FixtureRequest) -> Notes:
    """Notes of a worker."""
    if request.param == "real":
        return Notes(Connection(request.getfixturevalue("broker")))
    redis = Redis(time.time)
    connection: Any = SimpleNamespace(use_client=lambda: nullcontext(redis))
    return Notes(connection)


@pytest.fixture
def step(request: pytest.FixtureRequest) -> str:
    """A step of the test's own."""
    return f"{request.node.name}.finish"


def begun(notes: Notes, step: str, start: str) -> LeaseState:
    """Begin as soon as no other start is at work, and return those that have not ended."""
    until(lambda: not asked(notes, step).busy_seconds, PATIENCE, "an end of the one at work")
    return notes.acquire(step, start, LIFE, MOST)


def asked(notes: Notes, step: str) -> LeaseState:
    """The starts that have not ended, by one that does not begin."""
    return notes.acquire(step, "asking", LIFE, 0)


def test_no_start_of_a_step_begins_while_another_is_at_work(notes: Notes, step: str) -> None:
    assert notes.acquire(step, "first", LIFE, MOST) == LeaseState()

    twin = notes.acquire(step, "twin", LIFE, MOST)

    assert (twin.crashes, twin.live) == (0, 1)
    assert 0 < twin.busy_seconds <= LIFE / 2
    assert notes.acquire("another", "twin", LIFE, MOST) == LeaseState()


def test_a_start_that_goes_on_is_at_work_for_longer(notes: Notes, step: str) -> None:
    notes.acquire(step, "first", LIFE, MOST)
    until(lambda: asked(notes, step).busy_seconds < LIFE / 4, PATIENCE, "half of the time")

    notes.renew(step, "first", LIFE)

    assert asked(notes, step).busy_seconds > LIFE / 4


def test_a_start_that_ended_is_not_at_work(notes: Notes, step: str) -> None:
    notes.acquire(step, "first", LIFE, MOST)
    notes.release(step, "first", succeeded=False, retention=0.0)

    assert notes.acquire(step, "second", LIFE, MOST) == LeaseState()


def test_one_that_says_nothing_for_half_its_time_may_be_dead_and_surely_is_after_all_of_it(
    notes: Notes, step: str
) -> None:
    notes.acquire(step, "first", LIFE, MOST)

    second = begun(notes, step, "second")
    notes.release(step, "second", succeeded=False, retention=0.0)
    until(lambda: asked(notes, step).crashes == 1, PATIENCE, "a death")

    assert second == LeaseState(crashes=0, live=1)


def test_copies_that_would_have_died_together_are_one_death(notes: Notes, step: str) -> None:
    for death in range(MOST):
        assert begun(notes, step, f"first {death}").crashes <= death
        for copy in range(5):
            assert notes.acquire(step, f"copy {death}.{copy}", LIFE, MOST).busy_seconds
        until(
            lambda before=death: asked(notes, step).crashes == before + 1,  # type: ignore[misc]
            PATIENCE,
            "one more death",
        )

    assert notes.acquire(step, "last", LIFE, MOST) == LeaseState(crashes=MOST)
