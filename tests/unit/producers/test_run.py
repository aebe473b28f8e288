"""`Run.retry` sends failed requests again, to the sinks of the first run except local files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from promptmill.producers import client
from promptmill.producers.contract import sink_specs
from promptmill.producers.contract.messages import Manifest, SinkSpec
from support.recording_mill import open_mill

MakeSink = Callable[[str | Path], SinkSpec]
EACH_FILE_SINK = pytest.mark.parametrize("make_sink", [sink_specs.jsonl, sink_specs.parquet])


def retry_sinks(monkeypatch: pytest.MonkeyPatch, *sinks: SinkSpec) -> list[SinkSpec]:
    """Return the sinks of the retry of a run with these."""
    parent = Manifest("01jparent", "publishers/google/models/gemini-fake", 7.0, sinks=[*sinks])
    prompts = [{"key": "a", "prompt": "Say a"}]
    monkeypatch.setattr(client, "load_bucket_function", lambda _: lambda *_: (parent, prompts))
    mill, index, _ = open_mill()

    mill.retry(parent.run)

    return index.opened[0].sinks


@EACH_FILE_SINK
def test_a_retry_leaves_local_files_of_the_first_run_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_sink: MakeSink
) -> None:
    assert retry_sinks(monkeypatch, make_sink(tmp_path / "answers")) == []


@EACH_FILE_SINK
def test_a_retry_writes_to_the_same_bucket(
    monkeypatch: pytest.MonkeyPatch, make_sink: MakeSink
) -> None:
    sink = make_sink("gs://acme/answers")

    assert retry_sinks(monkeypatch, sink) == [sink]


def test_a_retry_writes_to_the_same_named_sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    sinks = [sink_specs.webhook("crm"), sink_specs.postgres("warehouse", table="answers")]

    assert retry_sinks(monkeypatch, *sinks) == sinks
