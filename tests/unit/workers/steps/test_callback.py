"""Callbacks at the end of a run: which are sent, with which argument, and how often."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import ConfigurationError, Permanent, Transient
from promptmill.config.settings import Settings
from promptmill.producers.contract import callbacks
from promptmill.producers.contract.messages import Signature
from promptmill.workers import steps
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import FakeCallbackBroker, Script
from promptmill.workers.ports import callbacks as callbacks_module
from promptmill.workers.sinks.callback import (
    MAX_TASK_BYTES,
    MAX_TASK_RESULTS,
    CallbackSink,
    split_results,
)
from support.fake_pipeline import RUN, FakePipeline

NOTIFY = Signature("shop.notify", ["#growth"], {"colour": "red"}, {"queue": "shop"})
PAGE = Signature("shop.page")


def pipeline(**options: Any) -> FakePipeline:
    return FakePipeline(link=[[NOTIFY]], link_error=[[PAGE]], **options)


def test_a_run_that_ends_while_its_first_chunk_is_stored_sends_its_callbacks() -> None:
    made = pipeline()
    _, *others = made.messages(["a", "b" * 20_000])

    with steps.ingest.mark_open(made.folder()):
        for message in others:
            steps.ingest.ingest(made.bucket, message)
        steps.ingest.abort_run(made.folder(), "the producer gave up", "cancelled")
        made.clock.now += 1.0
        made.do(Step("finish", RUN))

    assert made.drive(RUN).state == "cancelled"
    assert [call.task_id for call in made.caller.sent] == [f"{RUN}.link_error0"]


def test_a_successful_run_sends_link_once_with_its_outcome() -> None:
    made = pipeline(script=Script(missing=frozenset({1})))

    made.drive(made.send(["a", "b", "c"]))

    (call,) = made.caller.sent
    assert (call.task, call.task_id, call.queue) == ("shop.notify", f"{RUN}.link0", "shop")
    summary, channel = call.args
    assert (channel, call.kwargs) == ("#growth", {"colour": "red"})
    assert (summary["run"], summary["state"], summary["v"]) == (RUN, "partially_succeeded", 1)
    assert (summary["requests"], summary["succeeded"], summary["failed"]) == (3, 2, 1)
    assert summary["failures"] == {"MISSING_ROW": 1}
    assert made.bucket.read(summary["report"].removeprefix(made.bucket.url + "/"))
    json.dumps(summary, allow_nan=False)


def test_a_failed_run_sends_link_error_to_the_default_queue() -> None:
    made = pipeline(script=Script(missing=frozenset({0})))

    made.drive(made.send(["a"]))

    (call,) = made.caller.sent
    assert (call.task, call.task_id, call.queue) == ("shop.page", f"{RUN}.link_error0", "celery")
    assert call.args[0]["state"] == "failed"


def test_an_aborted_run_sends_link_error_with_the_reason() -> None:
    made = pipeline()
    run = made.send(["a"])
    steps.ingest.abort_run(made.folder(run), "sink gs://x cannot be written", "failed")

    made.drive(run)

    assert [(call.task, call.args[0]["error"]) for call in made.caller.sent] == [
        ("shop.page", "sink gs://x cannot be written")
    ]


def test_an_immutable_signature_gets_only_its_own_arguments() -> None:
    made = FakePipeline(link=[[Signature("shop.notify", [1], immutable=True)]])

    made.drive(made.send(["a"]))

    assert made.caller.sent[0].args == [1]


def test_a_run_stays_open_until_each_callback_is_sent() -> None:
    made = FakePipeline(link=[[NOTIFY], [PAGE]])
    made.caller.rejected_tasks = {"shop.notify"}
    run = made.send(["a"])
    with pytest.raises(Permanent):
        made.drive(run)

    assert [call.task for call in made.caller.sent] == ["shop.page"]
    assert made.report(run).state == "succeeded"
    assert made.due(run) == [Step("callback", run)]

    made.caller.rejected_tasks = set()
    made.drive(run)
    assert [call.task for call in made.caller.sent] == ["shop.page", "shop.notify"]
    assert made.bucket.find(made.folder(run).open_marker) is None


def test_callbacks_wait_for_a_broker_that_is_down() -> None:
    made = pipeline()
    run = made.send(["a"])
    made.caller.is_down = True
    with pytest.raises(AssertionError, match="is stalled"):
        made.drive(run)

    made.caller.is_down = False
    made.drive(run)

    assert [call.task_id for call in made.caller.sent] == [f"{RUN}.link0"]


def test_a_crash_before_the_fact_repeats_a_callback_under_the_same_id() -> None:
    made = pipeline()
    run = made.send(["a"])
    made.drive(run)
    made.bucket.delete(made.folder(run).callback("link0").name)
    made.bucket.create(made.folder(run).open_marker, b"")

    made.drive(run)

    first, again = made.caller.sent
    assert first == again


def test_late_duplicates_of_the_last_steps_send_no_callback() -> None:
    made = pipeline()
    run = made.send(["a"])
    made.drive(run)

    for task in ("callback", "finish", "callback"):
        made.do(Step(task, run))

    assert len(made.caller.sent) == 1


def test_a_refused_callback_is_recorded_and_does_not_block_others() -> None:
    made = FakePipeline(link=[[NOTIFY], [PAGE]])
    run = made.send(["a"])

    def check(chain: list[Signature]) -> None:
        if chain[0] == NOTIFY:
            raise ConfigurationError("not that")

    made.check_callback = check
    made.drive(run)

    assert [call.task for call in made.caller.sent] == ["shop.page"]
    assert made.folder(run).callback("link0").get().refusal == "not that"


def test_a_chain_carries_its_other_tasks_under_separate_ids() -> None:
    call = callbacks_module.build_callback_task(
        [NOTIFY, PAGE, Signature("shop.log", immutable=True)], {"run": RUN}, "r.link0"
    )

    last, second = call.options["chain"]
    assert (second["task"], second["options"]["task_id"]) == ("shop.page", "r.link0.1")
    assert (last["task"], last["options"]["task_id"], last["immutable"]) == (
        "shop.log",
        "r.link0.2",
        True,
    )


@pytest.mark.parametrize(
    ("settings", "signature", "words"),
    [
        ({}, Signature("promptmill.submit", ["01j", 0, 1]), "Promptmill's own"),
        ({}, Signature("shop.notify", options={"queue": "promptmill.jobs"}), "Promptmill's own"),
        ({"callback_tasks": "billing.*"}, Signature("shop.notify"), "PROMPTMILL_CALLBACK_TASKS"),
        (
            {"callback_broker_url": "redis://127.0.0.1/3"},
            Signature("shop.notify"),
            "PROMPTMILL_CALLBACK_TASKS",
        ),
    ],
)
def test_tasks_outside_the_allowlist_are_refused(
    settings: Any, signature: Signature, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        callbacks_module.check_callback_tasks(
            Settings(**settings), [NOTIFY if settings == {} else signature, signature]
        )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"callback_tasks": "billing.*, shop.*"},
        {"callback_tasks": "*", "callback_broker_url": "redis://127.0.0.1/3"},
    ],
    ids=str,
)
def test_tasks_on_the_allowlist_are_accepted(settings: Any) -> None:
    callbacks_module.check_callback_tasks(Settings(**settings), [NOTIFY, PAGE])


def test_all_results_are_sent_in_slices_with_stable_ids() -> None:
    made = FakePipeline(part_bytes=100, max_requests=2)
    (sink,) = callbacks.build_result_sinks(
        {"task": "shop.store", "args": ["reviews"], "options": {"queue": "shop"}}
    )

    made.drive(made.send(["a", "b", "c"], sinks=[sink]))

    given = [result["key"] for call in made.caller.sent for result in call.args[0]]
    assert sorted(given) == ["1", "2", "3"]
    assert all(call.args[1:] == ["reviews"] and call.queue == "shop" for call in made.caller.sent)
    ids = [call.task_id for call in made.caller.sent]
    assert len(set(ids)) == len(ids)
    assert f"{RUN}.results0.0000-1-00000.00000" in ids


def test_results_wait_for_a_full_queue_before_a_part_starts() -> None:
    caller = FakeCallbackBroker()
    (spec,) = callbacks.build_result_sinks({"task": "shop.store"})
    sink = CallbackSink(lambda: caller, spec, RUN, 2, lambda _: None)
    caller.queue_lengths = {"celery": 2}
    with pytest.raises(Transient, match="celery is full"):
        sink.deliver("0000-1-00000", b'{"key":"1"}\n')
    assert caller.sent == []

    caller.queue_lengths = {"celery": 1}
    sink.deliver("0000-1-00000", b'{"key":"1"}\n' * (MAX_TASK_RESULTS + 1))
    assert [len(call.args[0]) for call in caller.sent] == [MAX_TASK_RESULTS, 1]


@given(st.lists(st.integers(0, 3 * MAX_TASK_BYTES // 2), max_size=12))
def test_slices_are_bounded_and_complete(lengths: list[int]) -> None:
    lines = [json.dumps({"text": "x" * length}) for length in lengths]

    cut = list(split_results("".join(line + "\n" for line in lines).encode()))

    assert [len(one["text"]) for one_slice in cut for one in one_slice] == lengths  # type: ignore[arg-type]
    assert all(
        len(one) == 1 or sum(len(json.dumps(row)) for row in one) <= MAX_TASK_BYTES for one in cut
    )
