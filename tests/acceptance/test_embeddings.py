"""Embeddings and tuned models, from the producer to the results, on the whole stack."""

import csv
import json
import uuid
from pathlib import Path

import pytest
from pyarrow import parquet

from promptmill.producers import Promptmill
from promptmill.producers.contract import sink_specs
from support.local_stack import LocalStack, ask, done, read_results

MODEL = "gemini-embedding-2"


def test_vectors_reach_every_sink_and_the_command_line(
    stack: LocalStack, mill: Promptmill, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        '{"key": "a", "prompt": "red shoes"}\n{"content": {"parts": [{"text": "b"}]}}\n'
    )
    lines, table = tmp_path / "out.jsonl", tmp_path / "out.parquet"
    config = ["--embedding-config", '{"outputDimensionality": 4}']
    sinks = ["--sink", str(lines), "--sink", str(table)]

    run = stack.read_cli("submit", str(texts), "--model", MODEL, "--wait", *config, *sinks).strip()

    results = sorted(mill.get(run).results(), key=lambda result: result.row)
    assert [(result.key, len(result.embedding or ())) for result in results] == [("a", 4), ("2", 4)]
    assert {result.key: result.embedding for result in read_results(lines)} == {
        result.key: result.embedding for result in results
    }
    stored = parquet.read_table(table, columns=["key", "embedding"]).to_pylist()
    assert {row["key"]: row["embedding"] for row in stored} == {
        result.key: pytest.approx(result.embedding, abs=1e-6) for result in results
    }
    shown = csv.DictReader(stack.read_cli("results", run, "--format", "csv").splitlines())
    assert [json.loads(row["embedding"]) for row in shown if row["key"] == "a"] == [
        results[0].embedding
    ]
    used = sum(result.usage["promptTokenCount"] for result in results)
    assert mill.get(run).report().tokens["promptTokenCount"] == used > 0


def test_an_endpoint_is_answered_by_its_tuned_model(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    parent = f"projects/{mill.settings.project}/locations/{mill.settings.location}"
    name, model = f"{parent}/endpoints/{uuid.uuid4().int}", f"{parent}/models/4567"
    endpoint = {"deployedModels": [{"id": "1", "model": model, "modelVersionId": "2"}]}
    ask(stack.emulator, "POST", "/admin/endpoints", json.dumps({name: endpoint}).encode())

    run = mill.submit(["hello"], model=name, sinks=[sink_specs.jsonl(answers)])

    assert done(run).state == "succeeded"
    assert [result.succeeded for result in read_results(answers)] == [True]
    (job,) = stack.jobs(run.id)
    resources = ask(stack.emulator, "GET", "/admin/jobs")["jobs"]
    assert [each["model"] for each in resources if each["name"] == job["name"]] == [f"{model}@2"]


def test_a_missing_endpoint_ends_the_run_before_anything_is_billed(
    stack: LocalStack, mill: Promptmill
) -> None:
    parent = f"projects/{mill.settings.project}/locations/{mill.settings.location}"

    run = mill.submit(["hello"], model=f"{parent}/endpoints/1")

    status = done(run)
    assert (status.state, stack.jobs(run.id)) == ("failed", [])
    assert "endpoints/1 does not exist" in status.error
