"""An entry of the index that cannot be decoded does not hide the other runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import msgspec
import pytest

from promptmill.config.errors import RunNotFound
from promptmill.producers import Promptmill
from promptmill.producers.contract.connection import KEY_PREFIX, Connection
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.run_index import RunIndex

GOOD = Manifest("01good", "publishers/google/models/gemini-fake", 7.0, name="reviews")
UNREADABLE = [
    {"manifest": '{"run":"01bad","model":"m","created":1.0,"sinks":["gs://x/"]}'},
    {"manifest": "no JSON"},
    {"manifest": "[]"},
    {"manifest": '{"run":"01bad"}', "created": "yesterday"},
    {"manifest": msgspec.json.encode(GOOD).decode(), "ended": "soon"},
    {"manifest": msgspec.json.encode(GOOD).decode(), "requests": "many"},
]


class FakeRedis:
    """The commands of Redis that reads of the index use. It is its own pipeline."""

    def __init__(self, runs: dict[str, dict[str, str]]) -> None:
        self._runs = runs
        self._answers: list[object] = []

    def __enter__(self) -> "FakeRedis":
        self._answers = []
        return self

    def __exit__(self, *_: object) -> None: ...

    def pipeline(self, **_: object) -> "FakeRedis":
        return self

    def execute(self) -> list[object]:
        return self._answers

    def hgetall(self, key: str) -> None:
        self._answers.append(dict(self._runs.get(key.removeprefix(KEY_PREFIX + "run:"), {})))

    def hmget(self, key: str, *fields: str) -> None:
        run = self._runs[key.removeprefix(KEY_PREFIX + "run:")]
        self._answers.append([run.get(field) for field in fields])

    def hget(self, key: str, field: str) -> str | None:
        return self._runs[key.removeprefix(KEY_PREFIX + "run:")].get(field)

    def zrevrange(self, *_: object) -> list[str]:
        return sorted(self._runs)

    zrangebyscore = zrevrange


class FakeConnection:
    """A connection to a FakeRedis."""

    def __init__(self, client: FakeRedis) -> None:
        self._client = client

    @contextmanager
    def use_client(self) -> Iterator[FakeRedis]:
        yield self._client


@pytest.mark.parametrize("entry", UNREADABLE)
def test_an_unreadable_run_does_not_hide_the_others(entry: dict[str, str]) -> None:
    good = {"manifest": msgspec.json.encode(GOOD).decode(), "created": "7.0"}
    redis = FakeRedis({"01bad": entry, GOOD.run: good})
    mill = Promptmill(broker_url="redis://127.0.0.1:1/0")
    mill.index = RunIndex(cast("Connection", FakeConnection(redis)))

    states = {run.id: run.status.state for run in mill.runs()}

    assert states == {"01bad": "unreadable", GOOD.run: "open"}
    with pytest.raises(RunNotFound, match="run 01bad: its entry"):
        mill.get("01bad").wait(timeout=0)
    assert "another version" in mill.get("01bad").status.error
    assert mill.find(name="reviews").id in states
    assert [total.of for total in mill.costs("model")] == ["gemini-fake"]
