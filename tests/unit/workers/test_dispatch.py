"""Steps are put into Celery once for each reason: copies of a message make no copies of all that comes after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from faults.simulation.memory import Redis
from promptmill.config.errors import Transient
from promptmill.config.queues import takeover
from promptmill.config.settings import Settings
from promptmill.workers.coordination.notes import Notes, Starts
from promptmill.workers.dispatch import Flow
from promptmill.workers.facts.step import Step

FINISH = Step("finish", "01jrun")
TIMES = takeover(Settings())


class Place:
    """A broker, and a Redis with a clock that tests move; either may be away."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[str] = []
        self.is_down = False
        self.is_deaf = False
        self.notes = Notes(self)  # type: ignore[arg-type]
        self.flow = Flow(self, self.notes, TIMES)
        self._redis = Redis(lambda: self.now)

    @contextmanager
    def answering(self) -> Iterator[Redis]:
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


def test_a_step_that_was_sent_just_now_is_not_sent_again(place: Place) -> None:
    for _ in range(20):
        place.flow.enqueue([FINISH])

    assert place.sent == [FINISH.id]


def test_a_step_that_ended_too_soon_is_sent_again_by_a_sweep(place: Place) -> None:
    place.flow.enqueue([FINISH])
    note = place.flow.note(FINISH.id)
    note.begin(3)
    with note.renewed():
        place.flow.enqueue([FINISH])
    place.flow.enqueue_stalled([FINISH])
    assert place.sent == [FINISH.id], "a sweep may have read the facts before its end"

    place.now += TIMES.fetched
    place.flow.enqueue_stalled([FINISH])
    assert place.sent == [FINISH.id] * 2


def test_a_step_that_a_sweep_sent_just_now_is_not_sent_again_by_the_step_before_it(place: Place) -> None:
    place.flow.enqueue_stalled([FINISH])
    place.flow.enqueue([FINISH])

    assert place.sent == [FINISH.id]


def test_a_step_that_was_sent_a_while_ago_is_sent_again_since_its_message_may_be_lost(place: Place) -> None:
    place.flow.enqueue([FINISH])
    place.now += TIMES.fetched + 0.1
    place.flow.enqueue([FINISH])

    assert place.sent == [FINISH.id] * 2


def test_a_step_that_could_not_be_sent_is_sent_at_the_next_try(place: Place) -> None:
    place.is_down = True
    with pytest.raises(Transient):
        place.flow.enqueue([FINISH])
    place.is_down = False
    place.flow.enqueue([FINISH])

    assert place.sent == [FINISH.id]


def test_an_end_of_which_redis_did_not_hear_is_no_death_when_the_step_begins_again(place: Place) -> None:
    note = place.flow.note(FINISH.id)
    note.begin(3)
    with note.renewed():
        place.is_deaf = True
    place.is_deaf = False

    assert place.flow.note(FINISH.id).begin(3) == Starts(deaths=0, living=0)


def test_an_end_of_which_redis_did_not_hear_is_told_with_that_of_another_step(place: Place) -> None:
    note, other = place.flow.note(FINISH.id), place.flow.note("another")
    other.begin(3)
    note.begin(3)
    with note.renewed():
        place.is_deaf = True
    place.is_deaf = False
    with other.renewed():
        pass

    elsewhere = Notes(place)  # type: ignore[arg-type]
    assert elsewhere.begin(FINISH.id, "start", 60, 3) == Starts(deaths=0, living=0)
