"""Tables of BigQuery in and out, through the whole stack: what a user with a table does."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from promptmill.config.settings import load_settings
from promptmill.config.tables import Table
from promptmill.producers import Promptmill
from promptmill.producers.contract import sink_specs
from promptmill.workers.adapters.bigquery import BigQueryWarehouse, open_warehouse
from promptmill.workers.ports.warehouse import Column
from support.bigquery_server import PROJECT, running_bigquery
from support.local_stack import QUICK, LocalStack, running, shows_its_price, surroundings
from support.waiting import PATIENCE

"""Seconds for a run: jobs of BigQuery's come before and after each of Vertex's."""
ROOT = Path(__file__).parents[2]
SMALL = {"PROMPTMILL_MAX_REQUESTS_PER_JOB": "4", "PROMPTMILL_CHUNK_BYTES": "16384"}


@pytest.fixture(scope="module")
def bigquery_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack whose workers and whose Vertex know a BigQuery, which reads from the stack's storage."""
    with running(tmp_path_factory.mktemp("servers"), ("redis", "storage"), settings={}) as servers:
        storage = servers.environment["STORAGE_EMULATOR_HOST"]
        with running_bigquery(tmp_path_factory.mktemp("bigquery"), storage) as url:
            known = servers.environment | {"BIGQUERY_EMULATOR_HOST": url}
            with surroundings(known):
                rest = ("emulator", "worker", "poll", "beat")
                directory = tmp_path_factory.mktemp("stack")
                with (
                    # jobs in `global` take no tables
                    running(
                        directory, rest, location="us", settings=QUICK | SMALL | known
                    ) as stack,
                    surroundings(stack.environment),
                ):
                    yield stack


@pytest.fixture(scope="module")
def warehouse(bigquery_stack: LocalStack) -> Iterator[BigQueryWarehouse]:
    found = open_warehouse(load_settings(project=PROJECT))
    found._client.create_dataset("shop", exists_ok=True)
    yield found
    found._client.close()


@pytest.fixture
def requests(warehouse: BigQueryWarehouse) -> Table:
    """A table of ten requests, one of which cannot be sent, with columns that pass through."""
    table = Table(PROJECT, "shop", f"requests{uuid.uuid4().hex}")
    columns = [
        Column("id", "INTEGER"),
        Column("request", "JSON"),
        Column("shop", "STRING"),
        Column("since", "DATE"),
    ]
    warehouse.create_table(table, columns)
    rows: list[dict[str, Any]] = [
        {
            "id": number,
            "request": request(f"Say {number}"),
            "shop": f"00{number}",
            "since": "2026-11-24",
        }
        for number in range(1, 11)
    ]
    rows[6]["request"] = {"contents": "nothing of Google's shape"}
    done = warehouse._client.load_table_from_json(
        rows, str(table), job_config=_as_it_is(warehouse, table)
    ).result()
    assert done.output_rows == 10
    return table


def _as_it_is(warehouse: BigQueryWarehouse, table: Table) -> Any:
    from google.cloud import bigquery

    return bigquery.LoadJobConfig(
        schema=warehouse._fetch_schema(table), source_format="NEWLINE_DELIMITED_JSON"
    )


def request(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def new_table() -> Table:
    return Table(PROJECT, "shop", f"answers{uuid.uuid4().hex}")


def rows(warehouse: BigQueryWarehouse, table: Table) -> dict[str, dict[str, Any]]:
    stored: list[dict[str, Any]] = list(warehouse.stream_rows(table))
    by_key = {row["key"]: row for row in stored}
    assert len(by_key) == len(stored)
    return by_key


def tables_of(warehouse: BigQueryWarehouse, run: str) -> list[str]:
    names = [one.table_id for one in warehouse._client.list_tables("shop")]
    return sorted(name for name in names if name.startswith(f"promptmill-{run}-"))


def test_rows_of_a_query_go_through_a_template(
    warehouse: BigQueryWarehouse, bigquery_stack: LocalStack, requests: Table
) -> None:
    query = f"SELECT id, shop FROM `{requests}` WHERE id < 4"  # noqa: S608 - a table of this test's own

    run = Promptmill().submit_rows(
        query, template="Describe shop {{ shop }}", key="id", metadata=["shop"]
    )

    assert run.wait(PATIENCE).state == "succeeded"
    assert {result.key: result.metadata for result in run.results()} == {
        str(number): {"shop": f"00{number}"} for number in range(1, 4)
    }


def test_a_table_is_answered_by_jobs_on_tables_and_each_row_comes_back_with_its_other_columns(
    warehouse: BigQueryWarehouse, bigquery_stack: LocalStack, requests: Table
) -> None:
    answers = new_table()
    run = Promptmill().submit_table(
        requests.url,
        output=answers.url,
        key="id",
        model="gemini-3.8-flash",
        metadata=["shop", "since"],
    )
    status = run.wait(PATIENCE)

    assert (status.state, status.succeeded, status.requests) == ("partially_succeeded", 9, 10)
    found = rows(warehouse, answers)
    assert set(found) == {str(number) for number in range(1, 11)}
    assert found["3"]["metadata"] == {"shop": "003", "since": "2026-11-24"}
    assert "Say 3" in found["3"]["text"]
    assert found["3"]["usage"]["totalTokenCount"] > 0
    assert found["7"]["error"]["reason"] == "INVALID_REQUEST"
    assert {result.key for result in run.results()} == set(found)
    jobs = bigquery_stack.jobs(run.id)
    assert len(jobs) == 3
    assert len(tables_of(warehouse, run.id)) == 2 * len(jobs)
    notice = "BigQuery tables for jobs in us are not confirmed by Google's pages"
    for warnings in (run.report().warnings, run.status.warnings):
        assert any(warning.startswith(notice) for warning in warnings)


def test_workers_refuse_a_run_whose_model_is_not_where_their_jobs_are(
    bigquery_stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_LOCATION")  # a producer that does not know the location
    run = Promptmill().submit(["Say hello"], model="gemini-3.1-pro-preview")

    status = run.wait(PATIENCE)

    assert status.state == "failed"
    assert "has no batch jobs in us; set GOOGLE_CLOUD_LOCATION to global" in status.error
    assert not bigquery_stack.jobs(run.id)


def test_rows_that_fail_for_a_while_are_tried_again_through_tables_of_their_own(
    warehouse: BigQueryWarehouse, bigquery_stack: LocalStack, requests: Table
) -> None:
    bigquery_stack.fault("output", "error", code=429, share=0.5, times=3)
    answers = new_table()
    run = Promptmill().submit_table(
        requests.url, output=answers.url, key="id", model="gemini-3.8-flash"
    )
    status = run.wait(PATIENCE)

    assert status.succeeded == 9
    assert {row["attempt"] for row in rows(warehouse, answers).values()} == {1, 2}


def test_what_has_failed_is_sent_again_through_tables_too_and_its_story_is_told(
    warehouse: BigQueryWarehouse, bigquery_stack: LocalStack, requests: Table
) -> None:
    bigquery_stack.fault("output", "error", count=2, code=400, message="refused")
    run = Promptmill().submit_table(
        requests.url, output=new_table().url, key="id", model="gemini-3.8-flash"
    )
    run.wait(PATIENCE)
    failed = {
        result.key
        for result in run.failures()
        if result.error and result.error.message == "refused"
    }
    assert len(failed) == 2, list(run.failures())

    again = run.retry()

    assert again.wait(PATIENCE).state == "succeeded"
    assert {result.key for result in again.results()} == failed
    assert tables_of(warehouse, again.id)
    key = min(failed)
    before, after = (
        json.loads(bigquery_stack.read_cli("show", one.id, key, "--format", "json"))
        for one in (run, again)
    )
    assert [before["state"], after["state"]] == ["failed", "succeeded"]
    assert before["request"]["contents"] == after["request"]["contents"]


def test_any_run_may_go_by_tables_and_its_answers_into_one_that_is_merged_by_key(
    warehouse: BigQueryWarehouse, bigquery_stack: LocalStack
) -> None:
    answers = new_table()
    sink = sink_specs.bigquery(str(answers), merge="key")
    for greeting in ("Hello", "Goodbye"):
        prompts = [{"key": str(number), "prompt": f"{greeting} {number}"} for number in range(3)]
        run = Promptmill().submit(
            prompts, model="gemini-3.8-flash", tables="acme.shop", sinks=[sink]
        )
        assert run.wait(PATIENCE).state == "succeeded"

    found = rows(warehouse, answers)
    assert len(found) == 3
    assert all("Goodbye" in row["text"] and row["run"] == run.id for row in found.values())


def test_the_command_line_sends_a_table_and_lets_jobs_of_any_run_use_tables(
    warehouse: BigQueryWarehouse, bigquery_stack: LocalStack, requests: Table
) -> None:
    model, answers = "gemini-3.8-flash", new_table()
    table = ("--output", answers.url, "--key", "id", "--metadata", "shop")

    sent = bigquery_stack.cli("submit", requests.url, *table, "--model", model, "--wait")
    other = bigquery_stack.cli(
        "submit", "--prompt", "Hello", "--tables", "acme.shop", "--model", model, "--wait"
    )

    assert (sent.returncode, other.returncode) == (3, 0), sent.stderr + other.stderr
    assert {row["metadata"]["shop"] for row in rows(warehouse, answers).values()} == {
        f"00{n}" for n in range(1, 11)
    }
    assert len(tables_of(warehouse, other.stdout.strip())) == 2


@pytest.mark.parametrize(
    ("where", "words"),
    [("acme.nowhere", "dataset acme.nowhere: 404"), ("other.shop", "dataset other.shop: 404")],
)
def test_a_dataset_that_is_not_there_ends_the_run_before_anything_is_paid_for(
    bigquery_stack: LocalStack, where: str, words: str
) -> None:
    run = Promptmill().submit(["Hello"], model="gemini-3.8-flash", tables=where)
    status = run.wait(PATIENCE)

    assert status.state == "failed"
    assert words in status.error
    assert bigquery_stack.jobs(run.id) == []


def test_what_the_page_on_bigquery_shows_runs(
    warehouse: BigQueryWarehouse, bigquery_stack: LocalStack, requests: Table
) -> None:
    warehouse._client.create_dataset("reviews", exists_ok=True)
    shown = Table(PROJECT, "shop", "requests")
    warehouse.create_table(shown, warehouse.get_columns(requests) or [])
    held = [
        row | {"request": msgspec.json.encode(row["request"]).decode()}
        for row in warehouse.stream_rows(requests)
    ]
    warehouse._client.load_table_from_json(
        held, str(shown), job_config=_as_it_is(warehouse, shown)
    ).result()

    page = (ROOT / "docs" / "guides" / "bigquery.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        command = [sys.executable, "-c", f"{block}\nprint(run.wait({PATIENCE}).state)"]
        done = subprocess.run(
            command,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.stdout.strip() in {"succeeded", "partially_succeeded"}, done.stderr
    assert len(rows(warehouse, Table(PROJECT, "reviews", "sentiment"))) == 1
    assert len(rows(warehouse, Table(PROJECT, "shop", "answers"))) == 10


def test_the_example_prints_what_became_of_the_table(
    warehouse: BigQueryWarehouse, bigquery_stack: LocalStack, requests: Table
) -> None:
    answers = new_table()
    command = [
        sys.executable,
        str(ROOT / "examples" / "bigquery_table.py"),
        requests.url,
        answers.url,
    ]
    done = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"partially_succeeded: 9 of 10 are in {answers.url}\n"
    assert len(rows(warehouse, answers)) == 10
    assert shows_its_price(Promptmill().find(name="from a table"))
