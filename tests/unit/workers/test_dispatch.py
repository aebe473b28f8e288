"""Duplicate deliveries of a step do not duplicate the steps that follow it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from faults.simulation.memory import Redis
from promptmill.config.errors import Transient
from promptmill.config.queues import takeover_times
from promptmill.config.settings import Settings
from promptmill.workers.coordination.step_leases import LeaseState, StepLeases
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts.step import Step

FINISH = Step("finish", "01jrun")
TIMES = takeover_times(Settings())


class Place:
    """A broker, and a Redis with a clock that tests move; either may be unreachable."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[str] = []
        self.is_down = False
        self.is_deaf = False
        self.leases = StepLeases(self)  # type: ignore[arg-type]
        self.flow = Dispatcher(self, self.leases, TIMES)
        self._redis = Redis(lambda: self.now)

    @contextmanager
    def use_client(self) -> Iterator[Redis]:
        if self.is_deaf:
            raise Transient("Redis is away")
        yield self._redis

    def send_task(self, name: str, *, task_id: str, **_: Any) -> None:
        if self.is_down:
            raise OperationalError
        self.sent.append(task_id)


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_step_that_was_just_sent_is_not_sent_again(place: Place) -> None:
    for _ in range(20):
        place.flow.enqueue_steps([FINISH])

    assert place.sent == [FINISH.id]


def test_a_step_that_ended_too_soon_is_sent_again_by_a_sweep(place: Place) -> None:
    place.flow.enqueue_steps([FINISH])
    note = place.flow.create_lease(FINISH.id)
    note.acquire(3)
    with note.keep_alive():
        place.flow.enqueue_steps([FINISH])
    place.flow.enqueue_stalled([FINISH])
    assert place.sent == [FINISH.id], "a sweep may have read the facts before its end"

    place.now += TIMES.start_timeout
    place.flow.enqueue_stalled([FINISH])
    assert place.sent == [FINISH.id] * 2


def test_a_step_that_a_sweep_just_sent_is_not_sent_again_by_the_previous_step(
    place: Place,
) -> None:
    place.flow.enqueue_stalled([FINISH])
    place.flow.enqueue_steps([FINISH])

    assert place.sent == [FINISH.id]


def test_a_step_that_was_sent_a_while_ago_is_sent_again_since_its_message_may_be_lost(
    place: Place,
) -> None:
    place.flow.enqueue_steps([FINISH])
    place.now += TIMES.start_timeout + 0.1
    place.flow.enqueue_steps([FINISH])

    assert place.sent == [FINISH.id] * 2


def test_a_step_that_could_not_be_sent_is_sent_at_the_next_attempt(place: Place) -> None:
    place.is_down = True
    with pytest.raises(Transient):
        place.flow.enqueue_steps([FINISH])
    place.is_down = False
    place.flow.enqueue_steps([FINISH])

    assert place.sent == [FINISH.id]


def test_a_release_that_redis_missed_is_no_crash_when_the_step_starts_again(
    place: Place,
) -> None:
    note = place.flow.create_lease(FINISH.id)
    note.acquire(3)
    with note.keep_alive():
        place.is_deaf = True
    place.is_deaf = False

    assert place.flow.create_lease(FINISH.id).acquire(3) == LeaseState(crashes=0, live=0)


def test_a_release_that_redis_missed_is_sent_with_that_of_another_step(place: Place) -> None:
    note, other = place.flow.create_lease(FINISH.id), place.flow.create_lease("another")
    other.acquire(3)
    note.acquire(3)
    with note.keep_alive():
        place.is_deaf = True
    place.is_deaf = False
    with other.keep_alive():
        pass

    elsewhere = StepLeases(place)  # type: ignore[arg-type]
    assert elsewhere.acquire(FINISH.id, "start", 60, 3) == LeaseState(crashes=0, live=0)
