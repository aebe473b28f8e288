"""Rows that an earlier run has an answer to are not asked again, where a run wants that."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from promptmill.cli.run_views import render_status
from promptmill.config import names
from promptmill.config.errors import ConfigurationError, Transient
from promptmill.producers import run_options
from promptmill.producers.contract.messages import VERSION, Manifest, Signature
from promptmill.producers.contract.results import Result
from promptmill.producers.contract.status import Report
from promptmill.workers.attempts import answer_reuse, deduplication
from promptmill.workers.cli_support import request_history
from promptmill.workers.coordination import progress
from promptmill.workers.facts import records, snapshot
from promptmill.workers.facts.row_lists import ReusedRows
from promptmill.workers.fakes import MemoryBucket, Script
from promptmill.workers.output import result_files
from promptmill.workers.supervision import gc
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

NEXT = "01jtest-next"
TEXTS = st.lists(st.integers(0, 8), min_size=1, max_size=40)
LIMITS = st.integers(1, 12)


def say(texts: list[int]) -> list[Any]:
    """Prompts, of which those of 0 cannot be sent, and each second one is a row with key and metadata."""
    return [
        {"key": f"k{row}", "metadata": {"row": row}, "prompt": f"say {text}" if text else ""}
        if row % 2
        else f"say {text}"
        for row, text in enumerate(texts, 1)
    ]


def drive(
    pipeline: FakePipeline, run: str, prompts: list[Any], *, reuse_answers: bool = False
) -> Report:
    """Drive one more run of a mill."""
    pipeline.run, pipeline.reuse_answers = run, reuse_answers
    return pipeline.drive(pipeline.send(prompts))


def asked(pipeline: FakePipeline, run: str) -> list[bytes]:
    """What Vertex was asked by all jobs of a run."""
    uris = [request.input_uri for request in pipeline.jobs.requests if request.labels["run"] == run]
    return [
        line
        for uri in uris
        for line in pipeline.bucket.read(uri.removeprefix(pipeline.bucket.url + "/")).splitlines()
    ]


@settings(max_examples=80)
@given(TEXTS, TEXTS, LIMITS, LIMITS, st.integers(0, 2**32), st.integers(1, 3))
def test_a_row_is_asked_again_only_if_no_earlier_run_has_its_answer(
    before: list[int],
    after: list[int],
    shards_before: int,
    shards_after: int,
    seed: int,
    max_attempts: int,
) -> None:
    rng = random.Random(seed)
    script = Script(seed=seed, missing=frozenset(rng.sample(range(20), rng.choice((0, 6)))))
    pipeline = FakePipeline(
        script=script,
        max_requests=shards_before,
        max_attempts=max_attempts,
        chunk_bytes=400,
        part_bytes=900,
    )
    drive(pipeline, RUN, say(before))
    done = {
        result.text.removeprefix("You said: ")
        for result in pipeline.results(RUN)
        if result.succeeded
    }
    pipeline.jobs.script, pipeline.max_requests = Script(), shards_after

    pipeline.run, pipeline.reuse_answers = NEXT, True
    sent = say(after)
    report = pipeline.drive(pipeline.send(sent, order=rng), order=rng)

    found = pipeline.results(NEXT)
    assert [result.row for result in found] == list(range(1, len(sent) + 1))
    for result, text in zip(found, after, strict=True):
        possible = bool(text) or result.row % 2 == 0
        assert result.succeeded == possible
        assert (result.key, result.metadata) == (
            (f"k{result.row}", {"row": result.row}) if result.row % 2 else (str(result.row), None)
        )
        if possible:
            assert result.text == f"You said: say {text}"
            assert (result.attempt == 0) == (f"say {text}" in done)
            assert result.attempt or not result.usage
    assert report.reused == sum(not result.attempt for result in found)
    assert (report.unaccounted, report.duplicates, report.unknown) == (0, 0, 0)
    assert not [
        line for line in asked(pipeline, NEXT) if any(f'"{text}"'.encode() in line for text in done)
    ]


def test_a_run_whose_rows_are_all_answered_makes_no_job_and_costs_nothing() -> None:
    pipeline = FakePipeline()
    first = drive(pipeline, RUN, say([1, 2, 3, 1]))

    report = drive(pipeline, NEXT, say([3, 2, 1, 1]), reuse_answers=True)

    assert (report.state, report.succeeded, report.reused, report.jobs, report.tokens) == (
        "succeeded",
        4,
        4,
        0,
        {},
    )
    assert first.reused == 0
    assert {result.model_version for result in pipeline.results(NEXT)} == {
        pipeline.results(RUN)[0].model_version
    }


def test_answers_are_handed_on_through_a_run_that_reused_them() -> None:
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1]))
    drive(pipeline, NEXT, say([1, 2]), reuse_answers=True)
    gc_all(pipeline, RUN)

    report = drive(pipeline, "01jtest-third", say([2, 1]), reuse_answers=True)

    assert (report.reused, report.jobs) == (2, 0)


def gc_all(pipeline: FakePipeline, run: str) -> None:
    """Delete a run, as old ones are."""
    pipeline.clock.now += 10
    for stored in list(pipeline.bucket.list("runs/")):
        if not stored.name.startswith(f"runs/{run}/"):
            pipeline.bucket.write(
                stored.name, pipeline.bucket.read(stored.name)
            )  # as new as can be
    assert [old.run for old in gc.delete_old_runs(pipeline.bucket, 5)] == [run]
    assert [stored.name for stored in pipeline.bucket.list(f"runs/{run}/")] == []
    assert [
        stored.name for stored in pipeline.bucket.list(names.DONE) if stored.name.endswith(run)
    ] == []


def test_what_is_deleted_is_asked_again() -> None:
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1]))
    gc_all(pipeline, RUN)

    assert drive(pipeline, NEXT, say([1]), reuse_answers=True).reused == 0


@pytest.mark.parametrize(
    "name",
    [
        f"runs/{NEXT}/plan.json",
        f"runs/{NEXT}/chunks/00000000",
        f"runs/{NEXT}/shards/0000/1/settled.json",
        f"runs/{NEXT}/shards/0000/1/results/00000.jsonl",
    ],
)
@pytest.mark.parametrize("damage", [None, b"", b"not what it was\n"])
def test_a_run_that_is_being_deleted_or_damaged_is_passed_over(
    name: str, damage: bytes | None
) -> None:
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1, 2]))
    drive(pipeline, NEXT, say([2, 3]))
    pipeline.bucket.delete(name)
    if damage is not None:
        pipeline.bucket.write(name, damage)

    report = drive(pipeline, "01jtest-third", say([1, 2, 3]), reuse_answers=True)

    assert (report.succeeded, report.reused) == (3, 2)


@pytest.mark.parametrize("damage", [b"", bytes(8), bytes(15), bytes(48)])
def test_hashes_that_are_not_those_of_the_run_are_made_anew(damage: bytes) -> None:
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1, 2]))
    pipeline.bucket.write(pipeline.folder().answered(0), damage)

    assert drive(pipeline, NEXT, say([1, 2]), reuse_answers=True).reused == 2
    assert len(pipeline.bucket.read(pipeline.folder().answered(0))) == 32


def test_what_a_worker_wrote_of_a_run_that_was_deleted_meanwhile_is_deleted_too() -> None:
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1]))
    (mark,) = pipeline.bucket.list(names.DONE)
    gc_all(pipeline, RUN)
    pipeline.bucket.write(pipeline.folder().answered(0), bytes(16))
    pipeline.bucket.write(mark.name, b"")
    assert list(gc.delete_old_runs(pipeline.bucket, 5)) == []
    assert pipeline.bucket.find(mark.name)
    pipeline.clock.now += 10

    assert list(gc.find_old_runs(pipeline.bucket, 5)) == []
    assert pipeline.bucket.find(mark.name)
    assert list(gc.delete_old_runs(pipeline.bucket, 5)) == []
    assert list(pipeline.bucket.list("")) == []


class Counting(MemoryBucket):
    """A bucket that counts what is read of it."""

    reads: Counter[str]

    def read(self, name: str) -> bytes:
        self.reads[name] += 1
        return super().read(name)


def test_a_row_that_fails_every_night_does_not_have_every_night_read_again() -> None:
    pipeline = FakePipeline(script=Script(missing=frozenset({0})))
    pipeline.bucket.__class__ = Counting
    for night in range(6):
        pipeline.clock.now += 1
        pipeline.bucket.reads = Counter()  # type: ignore[attr-defined]
        drive(pipeline, f"01jtest-{night}", say([9, 1, 2, 3]), reuse_answers=True)

    read: Counter[str] = pipeline.bucket.reads  # type: ignore[attr-defined]
    earlier = {name.split("/")[1] for name in read if "/results/" in name} - {"01jtest-5"}
    assert earlier == {"01jtest-4"}


def test_a_look_ends_after_so_many_requests_with_what_it_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = FakePipeline()
    for night, text in enumerate([1, 2, 3]):
        pipeline.clock.now += 1
        drive(pipeline, f"01jtest-{night}", say([text]))
    monkeypatch.setattr(
        answer_reuse, "MAX_REQUESTS", 25
    )  # the first time a run is read it counts for twenty

    assert drive(pipeline, "01jtest-3", say([1, 2, 3, 4]), reuse_answers=True).reused == 2
    monkeypatch.setattr(answer_reuse, "MAX_REQUESTS", 10**6)
    assert drive(pipeline, "01jtest-4", say([1, 2, 3, 4]), reuse_answers=True).reused == 4


def test_a_run_that_is_cancelled_by_then_looks_for_nothing() -> None:
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1]))
    pipeline.run, pipeline.reuse_answers = NEXT, True
    run = pipeline.send(say([1, 2]))
    pipeline.do(pipeline.due(run)[0])
    pipeline.folder(run).cancelled.create(records.Cancelled(1.0))

    report = pipeline.drive(run)

    assert (report.state, report.reused, report.failed, report.jobs) == ("cancelled", 0, 2, 0)


def test_a_run_is_not_reported_before_later_ones_find_its_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With callbacks nobody would come back to it: what is due after the report is to send them."""
    pipeline, note = FakePipeline(link=[[Signature("shop.notify")]]), answer_reuse.mark_done
    pipeline.run = RUN
    run = pipeline.send(say([1]))

    def dies(*_: object) -> None:
        monkeypatch.setattr(answer_reuse, "mark_done", note)
        raise Transient("a worker that dies")

    monkeypatch.setattr(answer_reuse, "mark_done", dies)
    pipeline.drive(run)

    assert [call.task for call in pipeline.caller.sent] == ["shop.notify"]
    assert drive(pipeline, NEXT, say([1]), reuse_answers=True).reused == 1


def test_another_model_or_response_schema_is_another_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"a": {"type": "string"}}}
    manifests = [
        Manifest("r", "m", 0.0),
        Manifest("r", "n", 0.0),
        Manifest("r", "m", 0.0, response_schema=schema),
    ]
    pipeline = FakePipeline()
    for manifest in manifests:
        answer_reuse.mark_done(pipeline.bucket, manifest)
    assert len(list(pipeline.bucket.list(names.DONE))) == 3

    drive(pipeline, RUN, say([1]))
    monkeypatch.setattr("support.fake_pipeline.MODEL", "publishers/google/models/gemini-other")
    assert drive(pipeline, NEXT, say([1]), reuse_answers=True).reused == 0


def test_the_newest_answer_counts_and_only_so_many_runs_are_looked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = FakePipeline()
    drive(pipeline, "01jtest-a", say([1, 2]))
    pipeline.clock.now += 1
    pipeline.jobs._answer = lambda _: "newer"
    drive(pipeline, "01jtest-b", say([1]))

    drive(pipeline, "01jtest-c", say([1, 2]), reuse_answers=True)
    monkeypatch.setattr(answer_reuse, "MAX_RUNS", 1)
    limited = drive(pipeline, "01jtest-d", say([2, 3]), reuse_answers=True)

    assert [result.text for result in pipeline.results("01jtest-c")] == ["newer", "You said: say 2"]
    assert limited.reused == 1  # that of the newest, which has it from the oldest


def test_a_failure_is_no_answer() -> None:
    pipeline = FakePipeline(script=Script(missing=frozenset({0})))
    drive(pipeline, RUN, say([1, 2]))
    pipeline.jobs.script = Script()

    report = drive(pipeline, NEXT, say([1, 2]), reuse_answers=True)

    assert (report.succeeded, report.reused) == (2, 1)


def test_who_does_not_want_it_asks_again() -> None:
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1]))

    report = drive(pipeline, NEXT, say([1]))

    assert (report.reused, len(asked(pipeline, NEXT))) == (0, 1)
    assert not [
        stored.name for stored in pipeline.bucket.list("runs/") if "/answered/" in stored.name
    ]


def planned(pipeline: FakePipeline) -> Callable[[], ReusedRows]:
    """Bring a run of which an earlier one has one row of two to where answers are looked for; returns how that is done."""
    drive(pipeline, "01jtest-a", say([1]))
    pipeline.run, pipeline.reuse_answers = NEXT, True
    pipeline.do(pipeline.due(pipeline.send(say([1, 2])))[0])
    folder = pipeline.folder(NEXT).attempt(0, 1)
    manifest, rows = folder.run.manifest.get(), folder.run.plan.get().shards[0]
    return lambda: answer_reuse.reuse_answers(folder, manifest, rows)


def test_a_run_that_is_done_by_then_changes_nothing_for_a_duplicate_of_the_step() -> None:
    """Twins of the step that see other runs agree on what one of them wrote first."""
    pipeline = FakePipeline()
    look = planned(pipeline)
    first = look()
    drive(pipeline, "01jtest-b", say([2]))

    assert look() == first
    report = pipeline.drive(NEXT)
    assert (report.reused, len(asked(pipeline, NEXT))) == (1, 1)
    made = pipeline.folder(NEXT).attempt(0, 1).input.get()
    settled = pipeline.folder(NEXT).attempt(0, 1).settled.get()
    assert (made.reused, settled.reused, settled.requests) == (1, 1, 2)


def test_of_duplicates_that_find_different_answers_the_first_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = FakePipeline()
    look = planned(pipeline)
    find, first = answer_reuse._find_answers, list[ReusedRows]()

    def overtaken(*place: Any) -> ReusedRows:
        """A duplicate starts, finds more, as one more run is done, and is through before this one is."""
        monkeypatch.setattr(answer_reuse, "_find_answers", find)
        found = find(*place)
        drive(pipeline, "01jtest-b", say([2]))
        first.append(look())
        return found

    monkeypatch.setattr(answer_reuse, "_find_answers", overtaken)

    assert look() == first[0]
    assert first[0].count == 2
    assert (pipeline.drive(NEXT).succeeded, len(asked(pipeline, NEXT))) == (2, 0)


def test_rows_that_are_tried_again_are_asked_and_answered_as_ever() -> None:
    pipeline = FakePipeline(max_attempts=2)
    drive(pipeline, RUN, say([1]))
    pipeline.jobs.script = Script(missing=frozenset({0}))
    pipeline.run, pipeline.reuse_answers = NEXT, True
    run = pipeline.send(say([1, 2, 3]))
    while not pipeline.folder(run).attempt(0, 1).settled.exists():
        for step in pipeline.due(run):
            pipeline.do(step)
    pipeline.jobs.script = Script()

    report = pipeline.drive(run)

    assert (report.succeeded, report.unaccounted) == (3, 0)
    assert pipeline.folder(run).attempt(0, 1).settled.get().retried == 1


def test_two_requests_with_half_a_hash_in_common_are_not_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest_of = deduplication.request_digest
    for module in (deduplication, answer_reuse):
        monkeypatch.setattr(
            module, "request_digest", lambda line: b"the same" + digest_of(line)[8:]
        )
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1]))

    drive(pipeline, NEXT, say([2, 1]), reuse_answers=True)

    assert [result.text for result in pipeline.results(NEXT)] == [
        "You said: say 2",
        "You said: say 1",
    ]


def test_many_answers_make_several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_files, "MAX_FILE_BYTES", 200)
    pipeline = FakePipeline()
    drive(pipeline, RUN, say(list(range(1, 9))))

    report = drive(pipeline, NEXT, say(list(range(8, 0, -1))), reuse_answers=True)

    assert (report.succeeded, report.reused) == (8, 8)
    assert len(pipeline.folder(NEXT).attempt(0, 1).reused.get().files) > 2


def test_one_request_s_story_says_that_no_job_of_its_run_answered_it() -> None:
    pipeline = FakePipeline()
    drive(pipeline, RUN, say([1]))
    drive(pipeline, NEXT, say([2, 1]), reuse_answers=True)

    told = request_history.request_history(pipeline.bucket, NEXT, "2")

    assert (told["state"], len(told["attempts"])) == ("succeeded", 1)
    assert (told["attempts"][0]["attempt"], told["attempts"][0]["job"]) == (0, "")
    assert msgspec.convert(told["attempts"][0]["result"], Result).text == "You said: say 1"
    assert request_history.request_history(pipeline.bucket, NEXT, "k1")["attempts"][0]["job"]


def test_people_are_told_how_many_rows_have_the_answer_of_an_earlier_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    worker = FakeWorker(FakePipeline())
    drive(worker.pipeline, "01jtest-before", say([1, 2]))
    drive(worker.pipeline, RUN, say([1, 2, 3]), reuse_answers=True)

    progress.restore_run(
        worker.services.index,
        worker.pipeline.bucket,
        snapshot.load_snapshot(worker.pipeline.bucket, RUN),
    )

    assert (worker.status.requests, worker.status.succeeded, worker.status.reused) == (3, 3, 2)
    Console().print(render_status(worker.status))
    assert "reused       2 have the answer of an earlier run" in capsys.readouterr().out


def test_only_a_run_that_wants_it_is_left_to_workers_that_know_of_it() -> None:
    versions = [
        Manifest("r", "m", 0.0, reuse_answers=wanted).with_version().v for wanted in (False, True)
    ]
    assert versions == [VERSION, 3]


def test_one_answer_and_several_cannot_both_be_wanted() -> None:
    with pytest.raises(ConfigurationError, match=r"reuse_answers .* repeat_identical"):
        run_options.check_reuse_answers(reuse_answers=True, repeat_identical=True)
