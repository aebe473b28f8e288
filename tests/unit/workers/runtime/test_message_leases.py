"""Held messages are renewed, unless a finished one could not be released."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import kombu
import pytest
from celery import Celery
from celery.bootsteps import CLOSE, RUN  # type: ignore[attr-defined]

from promptmill.workers.runtime import task_request
from promptmill.workers.runtime.message_leases import MessageLeases
from promptmill.workers.runtime.task_request import RedactedRequest


class Redis:
    """Records which messages are renewed."""

    def __init__(self) -> None:
        self.renewed: list[str] = []

    def __enter__(self) -> "Redis":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def zadd(self, key: str, tags: dict[str, float], xx: bool) -> None:
        assert (key, xx) == ("index", True)
        self.renewed += tags


class Consumer:
    """The part of Celery's consumer that leases use. Its loop runs calls immediately."""

    def __init__(self, *held: str, given_back: str = "") -> None:
        self.redis = Redis()
        channel = SimpleNamespace(
            qos=SimpleNamespace(_delivered=dict.fromkeys(held), _dirty={given_back}),
            conn_or_acquire=lambda: self.redis,
            unacked_index_key="index",
            connection_errors=(OSError,),
        )
        self.task_consumer = SimpleNamespace(channel=channel)
        self.hub = SimpleNamespace(call_soon=lambda call, *args: call(*args))
        self.blueprint = SimpleNamespace(state=RUN)


@pytest.fixture(autouse=True)
def done() -> Iterator[set[str]]:
    yield task_request.finished_tags
    task_request.finished_tags.clear()


@pytest.fixture
def leases() -> MessageLeases:
    made = MessageLeases.__new__(MessageLeases)
    made._finished_tags = frozenset()
    return made


def test_held_messages_are_renewed(leases: MessageLeases) -> None:
    consumer = Consumer("one", "two")

    leases.run_once(consumer)

    assert consumer.redis.renewed == ["one", "two"]


def test_a_worker_that_cannot_release_a_finished_message_reconnects(
    leases: MessageLeases, done: set[str]
) -> None:
    consumer = Consumer("one", "two")
    done.add("two")

    leases.run_once(consumer)  # its release may be in progress
    with pytest.raises(ConnectionError):
        leases.run_once(consumer)

    assert consumer.redis.renewed == ["one", "two"]


def test_a_stopping_worker_does_not_reconnect(leases: MessageLeases, done: set[str]) -> None:
    consumer = Consumer("one")
    consumer.blueprint.state = CLOSE
    done.add("one")

    leases.run_once(consumer)
    leases.run_once(consumer)


def test_a_worker_whose_messages_are_all_released_keeps_its_connection(
    leases: MessageLeases, done: set[str]
) -> None:
    """kombu keeps the tags of released messages until the next message arrives."""
    consumer = Consumer("one", given_back="one")
    done.add("one")

    for _ in range(3):
        leases.run_once(consumer)

    assert consumer.redis.renewed == []


def test_a_message_released_by_the_next_renewal_causes_no_reconnect(
    leases: MessageLeases, done: set[str]
) -> None:
    done.add("one")
    leases.run_once(Consumer("one"))
    leases.run_once(Consumer())
    leases.run_once(Consumer("two"))

    assert done == set()


@pytest.mark.parametrize("give_back", [RedactedRequest.acknowledge, RedactedRequest.reject])
def test_the_tag_of_a_finished_message_is_recorded(
    done: set[str], give_back: Callable[[RedactedRequest], None]
) -> None:
    with kombu.Connection("memory://") as broker, Celery(set_as_current=False) as app:
        queue = broker.SimpleQueue("received")
        queue.put([[], {}, {}], headers={"id": "t", "task": "any"})
        message = queue.get(block=False)
        request = RedactedRequest(message, app=app, task=app.tasks["celery.chord"])
        assert done == set()

        give_back(request)
        message.ack()

        assert done == {message.delivery_tag}
        RedactedRequest(message, app=app, task=app.tasks["celery.chord"])
        assert done == set()
