"""The broker of the callers: the fake, and Celery before a real Redis."""

import json
import uuid
from base64 import b64decode
from typing import Any

import pytest
import redis

from promptmill.config.errors import Permanent, Transient
from promptmill.config.settings import load_settings
from promptmill.producers.contract.messages import Signature
from promptmill.workers.adapters.calls import CeleryCallbackBroker
from promptmill.workers.fakes import FakeCallbackBroker
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.google import CallbackBroker, CallbackTask


@pytest.fixture(params=["fake", "real"])
def caller(request: pytest.FixtureRequest) -> CallbackBroker:
    if request.param == "fake":
        return FakeCallbackBroker()
    return CeleryCallbackBroker(load_settings(broker_url=request.getfixturevalue("broker")))


@pytest.fixture
def queue() -> str:
    """A queue in which nothing is yet."""
    return uuid.uuid4().hex


def made(queue: str, *args: Any) -> CallbackTask:
    return callbacks.build_callback_task(
        [Signature("shop.store", list(args), {}, {"queue": queue})], {"run": "01j"}, "01j.link0"
    )


def test_what_is_sent_waits_in_its_queue_and_in_no_other(
    caller: CallbackBroker, queue: str
) -> None:
    assert caller.count_waiting(queue) == 0

    caller.send(made(queue))
    caller.send(made(queue))

    assert caller.count_waiting(queue) == 2
    assert caller.count_waiting(queue + "-other") == 0


def test_a_message_is_celerys_own_and_shows_its_id_alone(broker: str, queue: str) -> None:
    chain = [
        Signature("shop.store", ["secret"], {"colour": "secret"}, {"queue": queue, "priority": 3}),
        Signature("shop.next", immutable=True),
    ]
    CeleryCallbackBroker(load_settings(broker_url=broker)).send(
        callbacks.build_callback_task(chain, {"run": "01j"}, "01j.link0")
    )

    with redis.Redis.from_url(broker) as client:
        # A priority has a list of its own.
        (key,) = [one for one in client.scan_iter() if one.decode().startswith(queue)]
        held: Any = client.lindex(key, 0)
    message = json.loads(held)
    args, kwargs, embedded = json.loads(b64decode(message["body"]))
    assert (args, kwargs) == ([{"run": "01j"}, "secret"], {"colour": "secret"})
    assert [one["task"] for one in embedded["chain"]] == ["shop.next"]
    assert message["content-type"] == "application/json"
    assert (message["headers"]["id"], message["headers"]["task"]) == ("01j.link0", "shop.store")
    assert "secret" not in json.dumps(message["headers"])


@pytest.mark.parametrize("method", ["send", "count_waiting"])
def test_a_broker_that_cannot_be_reached_is_a_reason_to_wait(method: str, queue: str) -> None:
    caller = CeleryCallbackBroker(load_settings(broker_url="redis://127.0.0.1:1/0"))

    with pytest.raises(Transient, match="cannot be reached"):
        getattr(caller, method)(made(queue) if method == "send" else queue)


def test_a_broker_that_is_full_is_a_reason_to_wait(broker: str, queue: str) -> None:
    caller = CeleryCallbackBroker(load_settings(broker_url=broker))
    with redis.Redis.from_url(broker) as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(Transient):
                caller.send(made(queue))
        finally:
            client.config_set("maxmemory", 0)

    caller.send(made(queue))


def test_what_no_broker_takes_is_refused_for_good(broker: str, queue: str) -> None:
    caller = CeleryCallbackBroker(load_settings(broker_url=broker))

    with pytest.raises(Permanent, match=r"shop\.store cannot be sent"):
        caller.send(made(queue, object()))


def test_another_broker_is_used_where_the_workers_are_told_so(broker: str, queue: str) -> None:
    other = broker.removesuffix("/0") + "/5"
    caller = CeleryCallbackBroker(load_settings(broker_url=broker, callback_broker_url=other))

    caller.send(made(queue))

    with redis.Redis.from_url(other) as there, redis.Redis.from_url(broker) as here:
        assert (there.llen(queue), here.llen(queue)) == (1, 0)
