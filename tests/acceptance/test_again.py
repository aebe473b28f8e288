"""After a run: what has failed is sent again, one request's story is told, and what is old is deleted."""

import asyncio
import json
import uuid

import pytest

from promptmill.config.settings import load_settings
from promptmill.producers import (
    ConfigurationError,
    EmptyRun,
    Promptmill,
    Run,
    RunNotFound,
    WaitTimeout,
)
from promptmill.workers.adapters.storage import open_bucket
from promptmill.workers.supervision import gc
from support.local_stack import MODEL, LocalStack, done


@pytest.fixture
def run(stack: LocalStack, mill: Promptmill) -> Run:
    """A run of which two rows have failed for good."""
    stack.fault("output", "error", count=2, code=400, message="refused")
    rows = [
        {"key": f"sku-{row}", "prompt": f"Say {row}", "metadata": {"shop": row}}
        for row in range(1, 8)
    ]
    made = mill.submit(rows, max_attempts=1, name=uuid.uuid4().hex, labels={"team": "growth"})
    assert done(made).failed == 2
    return made


def test_what_has_failed_is_sent_again_as_a_run_of_its_own_that_is_one_however_often(
    mill: Promptmill, run: Run
) -> None:
    failed = {result.key: result.metadata for result in run.failures()}

    again = run.retry(generation_config={"maxOutputTokens": 2048})

    assert run.retry(generation_config={"maxOutputTokens": 2048}).id == again.id != run.id
    assert (done(again).state, again.status.requests) == ("succeeded", 2)
    assert {result.key: result.metadata for result in again.results()} == failed
    assert (again.status.name, again.status.labels) == (run.status.name, {"team": "growth"})
    assert run.status.failed == 2


def test_a_retry_with_a_field_that_the_model_refuses_is_refused_at_once(run: Run) -> None:
    with pytest.raises(ConfigurationError, match=r"candidateCount: gemini-3\.8-flash refuses it"):
        run.retry(generation_config={"candidateCount": 2})


def test_nothing_is_sent_again_that_has_not_failed_so(run: Run) -> None:
    with pytest.raises(EmptyRun, match="no failed request with SAFETY"):
        run.retry(only=["SAFETY"])


def test_the_command_line_sends_again_and_shows_what_was_asked_for(
    stack: LocalStack, run: Run
) -> None:
    failed = next(run.failures())
    assert failed.error

    made = stack.cli(
        "retry", run.id, "--only", failed.error.reason, "--set", "maxOutputTokens=2048", "--wait"
    )
    assert made.returncode == 0, made.stderr
    again = made.stdout.strip()

    before, after = (
        json.loads(stack.read_cli("show", one, failed.key, "--format", "json"))
        for one in (run.id, again)
    )
    assert before["state"] == "failed"
    assert before["attempts"][0]["result"]["error"]["reason"] == failed.error.reason
    assert before["attempts"][0]["job"] in {job["name"] for job in stack.jobs(run.id)}
    assert after["request"]["generationConfig"] == {"maxOutputTokens": 2048}
    assert after["attempts"][0]["result"]["text"]
    told = stack.read_cli("show", run.id, failed.key)
    assert failed.error.reason in told
    assert f'"text": "Say {failed.key.removeprefix("sku-")}"' in told

    missing = stack.cli("show", run.id, "sku-99")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "no request with key 'sku-99'" in missing.stderr


def test_old_runs_are_deleted_from_the_real_bucket_and_the_index_and_others_are_not(
    stack: LocalStack, run: Run
) -> None:
    told = stack.cli("gc", "--older-than", "1d", "--dry-run")
    assert (told.returncode, told.stdout) == (0, "")
    assert "no run is old enough" in told.stderr
    assert stack.cli("gc", "--older-than", "1h").returncode == 2

    settings = load_settings(bucket=f"{load_settings().bucket}-{uuid.uuid4().hex}")
    bucket, source = open_bucket(settings.bucket), open_bucket(load_settings().bucket)
    for stored in source.list(f"runs/{run.id}/"):
        bucket.write(stored.name, source.read(stored.name))
    bucket.write("runs/01jother/run.json", b"{}")

    (old,) = gc.collect_garbage(settings, 0.0, dry_run=False)

    assert old.run == run.id
    assert [stored.name for stored in bucket.list("")] == ["runs/01jother/run.json"]
    with pytest.raises(RunNotFound):
        _ = run.status


def test_a_run_is_waited_for_in_an_event_loop_and_found_by_its_name(
    mill: Promptmill, stack: LocalStack
) -> None:
    name = uuid.uuid4().hex
    with stack.standing_clock():
        run = mill.submit(["Say hello"], model=MODEL, name=name)
        with pytest.raises(WaitTimeout):
            asyncio.run(run.wait_async(timeout=0.3))
    assert mill.find(name=name).id == run.id
    with pytest.raises(
        RunNotFound, match=r"no run has the name .*; list runs with promptmill list"
    ):
        mill.find(name="nobody")

    assert asyncio.run(run.wait_async()).state == "succeeded"
