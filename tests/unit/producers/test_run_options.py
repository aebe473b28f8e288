"""An option of a wrong type is refused before anything is sent."""

from contextlib import suppress
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import Manifest, SinkSpec, encode_message
from promptmill.producers.run_options import RunOptions
from support.recording_mill import open_mill

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=9)  # lone surrogates, too
    | st.binary(max_size=9)
    | st.builds(object)
    | st.sampled_from(["gs://acme/x/", "36h", "acme.reviews", int, len, "notify"]),
    lambda values: (
        st.lists(values, max_size=3)
        | st.tuples(values)
        | st.builds(SinkSpec, values, values, values)
        | st.dictionaries(st.text(max_size=5) | st.integers(), values, max_size=3)
        | st.fixed_dictionaries(
            {"task": st.just("notify") | st.just("celery.chain")},
            optional={"args": values, "kwargs": values, "options": values, "immutable": values},
        )
    ),
    max_leaves=6,
)
WRONG = [
    ("model", 5, "model: must be text, not int"),
    ("name", None, "name: must be text, not NoneType"),
    ("name", "\ud800", "name: must be text, not text with a lone surrogate"),
    ("labels", "team", "labels: must be a dict of texts such as {'team': 'search'}, not str"),
    (
        "labels",
        {"a": 1},
        "labels: must be a dict of texts such as {'team': 'search'}, not dict of int and str",
    ),
    ("sinks", "gs://x/", "sinks: must be a list such as [sinks.jsonl('gs://x/')], not str"),
    (
        "sinks",
        ["gs://x/"],
        "sinks: must be a list such as [sinks.jsonl('gs://x/')], not list of str",
    ),
    ("max_attempts", 3.5, "max_attempts: must be a whole number, not float"),
    ("max_attempts", True, "max_attempts: must be a whole number, not bool"),
    ("retry_max_tokens", "9", "retry_max_tokens: must be a whole number, not str"),
    ("retry_schema_invalid", 1, "retry_schema_invalid: must be True or False, not int"),
    ("response_schema", "Model", "response_schema: must be a pydantic model or a dict, not str"),
    ("deadline", b"2d", "deadline: must be seconds or a duration such as '36h', not bytes"),
    ("tables", 7, "tables: must be text, not int"),
    ("max_cost_usd", "5", "max_cost_usd: must be a number, not str"),
    ("repeat_identical", 1, "repeat_identical: must be True or False, not int"),
    ("reuse_answers", "yes", "reuse_answers: must be True or False, not str"),
    ("idempotency_key", 5, "idempotency_key: must be text, not int"),
    ("strict", "no", "strict: must be True or False, not str"),
    ("on_sent", 5, "on_sent: must be a function, not int"),
    ("on_refused", 5, "on_refused: must be a function, not int"),
    ("link", 5, "link: must be a Celery signature"),
    ("link_error", [5], "link_error: must be a Celery signature"),
    ("link_results", {"task": "t", "args": 5}, "link_results: args of t must be a list, not int"),
    ("link", {"task": "t", "kwargs": [1]}, "link: kwargs of t must be a dict, not list"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_a_wrong_type_is_refused_with_name_rule_and_type(
    name: str, value: object, message: str
) -> None:
    mill, index, sender = open_mill()

    with pytest.raises(ConfigurationError) as refused:
        mill.submit(["Say hello"], **cast("RunOptions", {name: value}))

    assert str(refused.value).startswith(message)
    assert (index.opened, sender.sent) == ([], [])


@pytest.mark.parametrize("name", sorted(RunOptions.__optional_keys__))
@settings(max_examples=50)
@given(value=ANYTHING)
def test_a_run_is_refused_or_its_manifest_can_be_decoded(name: str, value: object) -> None:
    mill, index, sender = open_mill()

    with suppress(ConfigurationError):
        if name in ("on_sent", "on_refused") and callable(value):
            value = lambda *_: None  # noqa: E731
        mill.submit(["Say hello"], **cast("RunOptions", {name: value}))

    assert len(index.opened) == len(sender.sent)
    for manifest in index.opened:
        assert msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest)
        assert msgspec.msgpack.decode(encode_message(manifest), type=Manifest)


@pytest.mark.parametrize("labels", ["team", [("team", "x")], {"team": 1}, 5])
def test_a_pool_refuses_wrong_labels_too(labels: Any) -> None:
    mill, _, sender = open_mill()

    with pytest.raises(ConfigurationError, match="labels: must be a dict of texts"):
        mill.enqueue("Say hello", pool="shop", labels=labels)

    assert sender.sent == []
