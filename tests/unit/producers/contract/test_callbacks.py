"""Celery signatures, as a run carries them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, group
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract import callbacks
from promptmill.producers.contract.messages import Signature

shop = Celery("shop", set_as_current=False)


@shop.task(name="shop.notify")
def notify(*_: Any) -> None: ...


@shop.task(name="shop.store")
def store(*_: Any) -> None: ...


def test_a_signature_is_carried_with_its_arguments_and_queue() -> None:
    given = notify.s("#growth", colour="red").set(queue="shop", priority=3)

    assert callbacks.parse_chains("link", given) == [
        [Signature("shop.notify", ["#growth"], {"colour": "red"}, {"queue": "shop", "priority": 3})]
    ]


def test_an_immutable_signature_stays_so() -> None:
    ((one,),) = callbacks.parse_chains("link", notify.si())

    assert one.immutable


@pytest.mark.parametrize(
    "form", [lambda given: given, dict, lambda given: json.loads(json.dumps(given))]
)
def test_a_chain_is_carried_in_order_whatever_its_form(form: Any) -> None:
    given = form(notify.s(1) | store.s(2) | notify.s(3))

    assert [(one.task, one.args) for one in callbacks.parse_chains("link", given)[0]] == [
        ("shop.notify", [1]),
        ("shop.store", [2]),
        ("shop.notify", [3]),
    ]


def test_several_signatures_are_several_callbacks() -> None:
    assert [
        len(chain) for chain in callbacks.parse_chains("link", [notify.s(), notify.s() | store.s()])
    ] == [1, 2]
    assert callbacks.parse_chains("link", None) == callbacks.parse_chains("link", []) == []


def test_the_queue_of_a_chain_is_that_of_its_tasks_unless_they_have_their_own() -> None:
    given = (notify.s() | store.s().set(queue="slow")).set(queue="shop")

    assert [one.options["queue"] for one in callbacks.parse_chains("link", given)[0]] == [
        "shop",
        "slow",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("shop.notify", "not str"),
        (3, "not int"),
        ({"args": []}, "must be a Celery signature"),
        ({"task": ""}, "must be a Celery signature"),
        ({"task": "celery.chain", "kwargs": {"tasks": []}}, "at least one task"),
        (group(notify.s(), store.s()), "celery.group cannot be called"),
        (notify.s(datetime.now(UTC)), "must be JSON"),
        (notify.s(b"bytes"), "must be JSON"),
        (notify.s(float("nan")), "must be JSON"),
        (notify.s().set(serializer="pickle"), "option serializer"),
        (notify.s().set(task_id="mine"), "option task_id"),
        (notify.s("x" * 20_000), "16,384 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_could_not_be_sent_is_refused_with_words(given: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refusal:
        callbacks.parse_chains("link_error", given)

    assert str(refusal.value).startswith("link_error")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
)


@given(
    st.lists(
        st.tuples(
            st.lists(JSON, max_size=3), st.dictionaries(st.text(max_size=5), JSON, max_size=3)
        ),
        min_size=1,
    )
)
def test_whatever_is_json_comes_through_unchanged(
    tasks: list[tuple[list[Any], dict[str, Any]]],
) -> None:
    given = [notify.s(*args, **kwargs) for args, kwargs in tasks]

    assert [(one.args, one.kwargs) for (one,) in callbacks.parse_chains("link", given)] == tasks
