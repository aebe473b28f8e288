"""The examples, run as a newcomer would run them, against a stack of real servers and workers on this machine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from promptmill.local.services import StackOptions
from promptmill.local.stack import Stack
from promptmill.producers import Promptmill
from support.local_stack import shows_its_price, surroundings
from support.postgres import PostgresServer, postgres_server
from support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
ANY_PORTS = {"redis": 0, "storage": 0, "emulator": 0, "flower": 0}
WITHOUT_PAGE = ("redis", "storage", "emulator", "worker", "poll", "beat")


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """The database of the examples that want one."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, database: PostgresServer
) -> Iterator[dict[str, str]]:
    """What a program's environment needs to find a running stack."""
    options = StackOptions(
        tmp_path_factory.mktemp("stack"), services=WITHOUT_PAGE, latency=1, ports=ANY_PORTS
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTMILL_POLL_INTERVAL", "0.3")
        patch.setenv("PROMPTMILL_POOL_SECONDS", "1")
        patch.setenv("PROMPTMILL_NAMED_SINKS", json.dumps({"warehouse": database.url()}))
        with Stack(options) as stack:
            yield os.environ | stack.client_environment()


def test_the_strings_of_the_first_example_come_back_as_the_readme_shows(
    environment: dict[str, str],
) -> None:
    printed = run("translate.py", environment)

    assert printed == fenced("text", (ROOT / "README.md").read_text())


def test_the_pictures_of_the_second_example_keep_their_keys_and_metadata(
    environment: dict[str, str],
) -> None:
    *answers, cost, where = run("images.py", environment).splitlines()

    seen = "[emulated gemini-3.8-flash] (with 1 file: image/jpeg) You said: Describe it in one sentence."
    assert answers == [f"sku-1 {{'shop': 7}} {seen}", f"sku-2 {{'shop': 7}} {seen}"]
    assert re.fullmatch(
        r"cost \$0\.\d+ \(estimated \$0\.\d+, at most \$0\.\d+, online \$0\.\d+\)", cost
    )
    assert lines_of(where.removeprefix("all results are in "), environment) == {"sku-1", "sku-2"}


def test_the_claims_of_the_third_example_are_objects_that_fit_their_model(
    environment: dict[str, str],
) -> None:
    printed = run("claims.py", environment).splitlines()

    claims = [
        re.fullmatch(r"letter-(\d) (fire|water|theft|other) ([1-5]) (\d+\.\d+)", line)
        for line in printed
    ]
    assert [claim and claim[1] for claim in claims] == ["1", "2"]


def test_the_sentiments_of_reviews_are_rows_of_a_table(
    environment: dict[str, str], database: PostgresServer
) -> None:
    printed = run("sentiment.py", environment)

    with psycopg.connect(database.url()) as connection:
        rows: dict[str, str] = dict(
            connection.execute("SELECT key, sentiment FROM sentiment").fetchall()
        )
        (name,) = connection.execute("SELECT DISTINCT run FROM sentiment").fetchall()
    assert printed == f"3 rows of run {name[0]} are in warehouse sentiment\n"
    assert sorted(rows) == ["r-1", "r-2", "r-3"]
    assert set(rows.values()) <= {"positive", "negative", "neutral"}


def test_an_example_that_is_run_twice_with_one_idempotency_key_makes_one_run(
    environment: dict[str, str],
) -> None:
    first = run("images.py", environment)
    runs = newest_runs(environment)

    again = run("images.py", environment)

    assert again == first
    assert newest_runs(environment) == runs


def test_reviews_come_out_of_a_csv_file_with_their_keys_and_columns(
    environment: dict[str, str],
) -> None:
    seen, state, *answers = run("reviews.py", environment).splitlines()

    assert (seen, state) == ("3 rows, 0 of them invalid", "succeeded")
    assert [line.partition(" [emulated")[0] for line in answers] == [
        "r-1 {'shop': '7'}",
        "r-2 {'shop': '7'}",
        "r-3 {'shop': '9'}",
    ]


def test_tickets_of_many_requests_and_reviews_of_a_feed_are_answered(
    environment: dict[str, str],
) -> None:
    assert run("tickets.py", environment).splitlines() == [
        "3 tickets answered",
        "2 reviews answered",
    ]


def test_a_product_without_a_picture_fails_alone(environment: dict[str, str]) -> None:
    refused, state, first, second, third = run("products.py", environment).splitlines()

    assert refused.startswith("not sent: sku-3 - the URI of media 1 is empty")
    assert state == "partially_succeeded"
    assert first.startswith("sku-1 [emulated gemini-3.8-flash] (with 1 file: image/jpeg)")
    assert second.startswith("sku-2 [emulated gemini-3.8-flash] (with 1 file: image/webp)")
    assert "INVALID_REQUEST" in third


def test_products_are_found_by_the_embeddings_of_their_descriptions(
    environment: dict[str, str],
) -> None:
    printed = run("search.py", environment).splitlines()

    assert printed[0] == "succeeded"
    found = {line.partition(": ")[0]: line.partition(": ")[2].split(", ") for line in printed[1:]}
    assert sorted(found["heavy rain while hiking"]) == ["sku-1", "sku-4"]
    assert found["a mug for hot coffee"][0] == "sku-2"


def test_videos_are_named_by_their_uri(environment: dict[str, str]) -> None:
    state, first, second = run("videos.py", environment).splitlines()

    assert state == "succeeded"
    assert first.startswith(
        "pixel8.mp4 {'language': 'English'} [emulated gemini-3.8-flash] (with 1 file: video/mp4)"
    )
    assert second.startswith("0017 {'language': 'Spanish'}")


def test_documents_are_summarized_for_whom_the_row_says(environment: dict[str, str]) -> None:
    state, first, second = run("documents.py", environment).splitlines()

    assert state == "succeeded"
    assert first.startswith("paper-1 [emulated gemini-3.8-flash] (with 1 file: application/pdf)")
    assert first.endswith("in three sentences for engineers.")
    assert second.endswith("in three sentences.")


def test_rows_of_a_parquet_file_in_the_bucket_are_sent_from_the_command_line(
    environment: dict[str, str], tmp_path: Path
) -> None:
    table = pyarrow.Table.from_pylist([{"id": row, "text": f"hello {row}"} for row in range(50)])
    parquet.write_table(table, tmp_path / "rows.parquet")
    uploaded = put(tmp_path / "rows.parquet", environment)

    sent = promptmill(
        environment, "submit", uploaded, "--template", "Say {{ text }}", "--key", "id", "--wait"
    )

    texts = [
        msgspec.json.decode(line)
        for line in promptmill(environment, "results", sent.strip()).splitlines()
    ]
    assert {row["key"]: row["text"].rpartition("said: ")[2] for row in texts} == {
        str(row): f"Say hello {row}" for row in range(50)
    }


def test_what_else_of_python_is_in_the_readme_runs(environment: dict[str, str]) -> None:
    _, *others = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )

    assert others
    for block in others:
        assert printed_by(["-c", block], environment)


def run(example: str, environment: dict[str, str]) -> str:
    """Run an example to its end and return what it printed. Vertex answers every row of its runs."""
    known = set(newest_runs(environment))
    printed = printed_by([str(ROOT / "examples" / example)], environment)
    with surroundings(environment):
        runs = [run for run in Promptmill().runs() if run.id not in known]
        assert all(shows_its_price(run) for run in runs)
        assert {reason for run in runs for reason in run.report().failures} <= {"INVALID_REQUEST"}
    return printed


def printed_by(arguments: list[str], environment: dict[str, str]) -> str:
    """Run Python to its end and return what it printed."""
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def promptmill(environment: dict[str, str], *arguments: str) -> str:
    """Run the command line and return what it printed."""
    return printed_by(
        ["-m", "promptmill.cli", *arguments], environment | {"PROMPTMILL_MODEL": "gemini-3.8-flash"}
    )


def put(path: Path, environment: dict[str, str]) -> str:
    """Put a file into the bucket; returns its URL."""
    bucket = environment["PROMPTMILL_BUCKET"].removeprefix("gs://").partition("/")[0]
    storage_client(environment).bucket(bucket).blob(f"rows/{path.name}").upload_from_filename(
        str(path)
    )
    return f"gs://{bucket}/rows/{path.name}"


def fenced(language: str, markdown: str) -> str:
    """Return the first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    assert found, f"there is no block of {language}"
    return found[1]


def lines_of(folder: str, environment: dict[str, str]) -> set[str]:
    """Return the keys of all lines of JSON in a folder of the bucket."""
    bucket, _, prefix = folder.removeprefix("gs://").partition("/")
    blobs = storage_client(environment).list_blobs(bucket, prefix=prefix)
    return {
        msgspec.json.decode(line)["key"]
        for blob in blobs
        for line in blob.download_as_bytes().splitlines()
    }


def storage_client(environment: dict[str, str]) -> Any:
    """Return a client of the stack's bucket."""
    from google.cloud import storage

    return storage.Client(
        project=environment["GOOGLE_CLOUD_PROJECT"],
        client_options={"api_endpoint": environment["STORAGE_EMULATOR_HOST"]},
        use_auth_w_custom_endpoint=False,
    )


def newest_runs(environment: dict[str, str]) -> list[str]:
    """Return the ids of all runs that the stack knows."""
    return [run.id for run in Promptmill(broker_url=environment["CELERY_BROKER_URL"]).runs()]
