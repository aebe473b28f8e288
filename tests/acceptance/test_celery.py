"""A business application with Celery workers of its own: it is called back, and submits without importing Promptmill."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from promptmill.producers import Promptmill
from promptmill.producers.contract.ids import make_run_id
from promptmill.workers.adapters.storage import open_bucket
from support.local_stack import LocalStack, ask, done, keys, once, surroundings
from support.waiting import PATIENCE, wait_until

CANARY = "canary-9c1d"


@dataclass(frozen=True)
class Shop:
    """The application: its tasks, and what each was given."""

    app: Any
    book: Path

    def of(self, task: str, prefix: str = "") -> list[tuple[str, list[Any]]]:
        """Id and arguments of every call of a task whose id begins so."""
        lines = self.book.read_text().splitlines() if self.book.exists() else []
        calls = [(task_id, args) for name, task_id, args in map(json.loads, lines) if name == task]
        return [call for call in calls if call[0].startswith(prefix)]

    def signature(self, task: str, *args: Any) -> Any:
        return self.app.signature(task, args=args, queue="shop")


@pytest.fixture(scope="module")
def shop(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The application, with a worker in a process of its own."""
    folder = tmp_path_factory.mktemp("shop")
    broker = {
        "CELERY_BROKER_URL": stack.environment["CELERY_BROKER_URL"],
        "SHOP_BOOK": str(folder / "book.jsonl"),
    }
    options = [
        "--queues",
        "shop",
        "--pool",
        "solo",
        "--hostname",
        "shop@%h",
        "--loglevel",
        "WARNING",
    ]
    command = [sys.executable, "-m", "celery", "--app", "shop", "worker", *options]
    with (folder / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            command, env=os.environ | broker, cwd=Path(__file__).parent, stdout=log, stderr=log
        )
    with Celery("sender", broker=broker["CELERY_BROKER_URL"], set_as_current=False) as app:
        yield Shop(app, folder / "book.jsonl")
    worker.terminate()
    worker.wait(PATIENCE)


def test_a_run_that_ends_well_calls_a_chain_of_tasks_on_the_callers_queue(
    mill: Promptmill, shop: Shop
) -> None:
    run = mill.submit(
        ["Say hello", "Say goodbye"],
        labels={"team": "growth"},
        link=shop.signature("shop.notify", "#growth") | shop.signature("shop.follow"),
        link_error=shop.signature("shop.page"),
    )

    wait_until(lambda: shop.of("shop.follow", run.id), "the last task of the chain")

    (called,) = shop.of("shop.notify", run.id)
    task_id, (summary, channel) = called
    assert (task_id, channel) == (f"{run.id}.link0", "#growth")
    assert (summary["run"], summary["state"], summary["succeeded"]) == (run.id, "succeeded", 2)
    assert summary["labels"] == {"team": "growth"}
    assert shop.of("shop.follow", run.id) == [(f"{run.id}.link0.1", [summary])]
    assert shop.of("shop.page", run.id) == []
    assert done(run).state == "succeeded"
    assert run.report().requests == 2


def test_a_run_that_fails_calls_whom_it_was_told_to(mill: Promptmill, shop: Shop) -> None:
    run = mill.submit(
        ["Say hello"],
        model="gemini-99-flash",
        link=shop.signature("shop.notify"),
        link_error=shop.signature("shop.page"),
    )

    (call,) = wait_until(lambda: shop.of("shop.page", run.id), "the page")

    assert call[1][0]["state"] == "failed"
    assert call[1][0]["error"]


def test_whom_to_call_may_be_said_on_the_command_line(
    stack: LocalStack, mill: Promptmill, shop: Shop
) -> None:
    links = [
        "--link",
        "shop.notify@shop",
        "--link-error",
        "shop.page@shop",
        "--link-results",
        "shop.store@shop",
    ]
    command = [sys.executable, "-m", "promptmill.cli", "submit", "--prompt", "Say hello", *links]
    sent = subprocess.run(
        command, env=stack.everything, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert sent.returncode == 0, sent.stderr
    run = mill.get(sent.stdout.strip())

    wait_until(lambda: shop.of("shop.notify", run.id), "word of its end")

    assert done(run).state == "succeeded"
    assert len(shop.of("shop.store", run.id)) == 1
    assert shop.of("shop.page", run.id) == []


def test_all_results_are_handed_over_and_flower_shows_none_of_them(
    mill: Promptmill, stack: LocalStack, shop: Shop
) -> None:
    run = mill.submit(
        [f"Say {CANARY} {number}" for number in range(1200)],
        link_results=shop.signature("shop.store", "x"),
    )
    done(run)

    calls = wait_until(lambda: _slices(shop, run.id, 1200), "all slices")

    keys = {result["key"] for _, (results, _) in calls for result in results}
    assert keys == {str(number) for number in range(1, 1201)}
    assert CANARY in calls[0][1][0][0]["text"]
    assert CANARY not in flower(stack)


def _slices(shop: Shop, run: str, results: int) -> list[Any]:
    found = shop.of("shop.store", run)
    return found if sum(len(args[0]) for _, args in found) >= results else []


def test_one_run_may_be_chained_to_another_by_a_task_that_never_imports_promptmill(
    mill: Promptmill, shop: Shop
) -> None:
    first = mill.submit(["Say it once"], link=shop.signature("shop.next_run"))
    second = make_run_id(f"after/{first.id}")

    wait_until(lambda: shop.of("shop.follow", f"{second}.link0"), "the end of the second run")

    assert mill.get(second).status.succeeded == 1


def test_a_task_that_may_not_be_called_ends_its_run_before_anything_is_paid_for(
    mill: Promptmill, stack: LocalStack
) -> None:
    run = mill.submit(["Say hello"], link={"task": "promptmill.submit", "args": ["01j", 0, 1]})

    assert done(run).state == "failed"
    assert "Promptmill's own" in run.status.error
    assert stack.jobs(run.id) == []


def test_a_submission_that_is_sent_twice_is_one_run_and_shows_its_prompt_to_nobody(
    stack: LocalStack, mill: Promptmill
) -> None:
    """Its sender does nothing for secrecy: what Celery would show of its arguments is not shown."""
    task_id = str(uuid.uuid4())
    with Celery(broker=stack.environment["CELERY_BROKER_URL"], set_as_current=False) as sender:
        for _ in range(2):
            sender.send_task(
                "promptmill.submit_prompts",
                kwargs={"v": 1, "prompts": [f"Say {CANARY}"], "model": "gemini-3.8-flash"},
                queue="promptmill.ingest",
                task_id=task_id,
            )
    known = make_run_id(task_id)
    wait_until(lambda: known in [run.id for run in mill.runs()], "the run")
    run = mill.get(known)

    assert done(run).succeeded == 1
    assert len(stack.jobs(run.id)) == 1
    wait_until(lambda: task_id in flower(stack), "the task in Flower")
    assert CANARY not in flower(stack)
    assert [
        log.name for log in (stack.directory / "logs").glob("*.log") if CANARY in log.read_text()
    ] == []


def test_rows_that_lie_in_the_bucket_are_read_by_a_worker(
    stack: LocalStack, mill: Promptmill
) -> None:
    key = str(uuid.uuid4())
    with surroundings(stack.environment):
        rows = "".join(f"{row},hello {row}\n" for row in range(3_000))
        open_bucket("gs://promptmill-local/rows").write(f"{key}.csv", f"id,text\n{rows}".encode())
    with Celery(broker=stack.environment["CELERY_BROKER_URL"], set_as_current=False) as sender:
        sender.send_task(
            "promptmill.submit_prompts",
            kwargs={
                "v": 1,
                "source": f"gs://promptmill-local/rows/{key}.csv",
                "template": "Say {{ text }}",
                "key": "id",
            }
            | {"model": "gemini-3.8-flash", "idempotency_key": key},
            queue="promptmill.ingest",
        )
    wait_until(lambda: make_run_id(key) in [run.id for run in mill.runs()], "the run")

    run = mill.get(make_run_id(key))
    assert done(run).state == "succeeded"
    assert keys(list(run.results())) == once(range(3_000))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (
            {"source": "gs://promptmill-local/rows/none.csv", "template": "{{ text }}"},
            "none.csv does not exist",
        ),
        (
            {"source": "gs://promptmill-local/mill/x.csv", "template": "{{ text }}"},
            "PROMPTMILL_SOURCES",
        ),
        ({"prompts": []}, "the run has no prompts"),
        ({"prompts": [{"key": "a", "prompt": "x"}, {"key": "a", "prompt": "y"}]}, "same key"),
    ],
    ids=["no rows", "rows of others", "nothing", "a key twice"],
)
def test_a_submission_that_cannot_be_sent_is_a_failed_run_of_which_its_caller_hears(
    stack: LocalStack, mill: Promptmill, shop: Shop, payload: dict[str, Any], words: str
) -> None:
    key = str(uuid.uuid4())
    shop.app.send_task(
        "promptmill.submit_prompts",
        kwargs={"v": 1, "model": "gemini-3.8-flash", "idempotency_key": key, **payload}
        | {"link_error": shop.signature("shop.page")},
        queue="promptmill.ingest",
    )

    wait_until(lambda: shop.of("shop.page", f"{make_run_id(key)}.link_error0"), "the page")

    status = mill.get(make_run_id(key)).status
    assert status.state == "failed"
    assert words in status.error
    assert stack.jobs(status.run) == []


def flower(stack: LocalStack) -> str:
    """All that Flower knows of tasks and workers."""
    url = str(stack.status()["flower"].url)
    return (
        f"{ask(url, 'GET', '/api/tasks?limit=10000')} {ask(url, 'GET', '/api/workers?refresh=1')}"
    )
