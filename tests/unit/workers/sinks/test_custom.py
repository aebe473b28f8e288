"""Sinks of other packages: a function or a class behind an entry point."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptmill.config.errors import ConfigurationError, Transient
from promptmill.config.settings import Settings
from promptmill.producers.contract import sink_specs
from promptmill.workers.sinks import Sink
from promptmill.workers.sinks.context import Connectors, SinkContext
from promptmill.workers.sinks.opening import open_sink

LINES = b'{"key":"a","row":1,"state":"succeeded","text":"good"}\n'
MODULE = """
got = []

def store(run, part, results, *, table):
    got.append((run, part, table, [result.text for result in results]))

def away(run, part, results):
    raise ConnectionRefusedError("away")

class Store:
    def __init__(self, run, *, table="t"):
        self.run = run
    def deliver(self, part, lines):
        got.append((self.run, part, lines))
    def finish(self, parts):
        return f"{len(parts)} parts of {self.run}"
"""


@pytest.fixture
def got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What sinks of an installed package have got."""
    (tmp_path / "shop_sinks.py").write_text(MODULE)
    metadata = tmp_path / "shop_sinks-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-sinks\nVersion: 1\n")
    points = [f"{name} = shop_sinks:{name}" for name in ("store", "away", "Store")]
    (metadata / "entry_points.txt").write_text("\n".join(["[promptmill.sinks]", *points, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    import shop_sinks  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

    yield shop_sinks.got
    del sys.modules["shop_sinks"]


def custom(name: str, **options: Any) -> Sink:
    def no_bucket(url: str) -> Any:
        raise AssertionError(url)

    context = SinkContext(Settings(), no_bucket, Connectors(), "run")
    return open_sink(sink_specs.custom(name, **options), context)


def test_a_function_gets_the_results_of_every_part(got: list[Any]) -> None:
    sink = custom("store", table="answers")
    sink.check()
    sink.deliver("p", LINES)

    assert got == [("run", "p", "answers", ["good"])]
    assert sink.finish(["p"]) == "store"


def test_a_class_gets_the_lines_and_says_where_they_are(got: list[Any]) -> None:
    sink = custom("Store", table="answers")
    sink.check()
    sink.deliver("p", LINES)

    assert got == [("run", "p", LINES)]
    assert sink.finish(["p"]) == "1 parts of run"


@pytest.mark.parametrize(
    ("name", "options"), [("nobody", {}), ("store", {}), ("Store", {"tabel": "answers"})]
)
def test_one_that_is_not_installed_or_does_not_take_the_options_is_refused(
    got: list[Any], name: str, options: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match=f"^sink {name}: "):
        custom(name, **options).check()


def test_one_whose_server_is_away_is_waited_for(got: list[Any]) -> None:
    with pytest.raises(Transient, match="sink away: ConnectionRefusedError"):
        custom("away").deliver("p", LINES)
