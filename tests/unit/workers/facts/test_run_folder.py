"""Names of the objects in the folders of runs and attempts, and the methods of facts."""

import msgspec
import pytest

from promptmill.config.errors import Conflict, NotFound
from promptmill.workers.facts.fact import Fact, ReadableFact, read_facts
from promptmill.workers.facts.records import Aborted, Cancelled, Delivered, Intent, Plan
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.fakes import MemoryBucket

BUCKET = MemoryBucket()
RUN = RunFolder(BUCKET, "01j")
ATTEMPT = RUN.attempt(3, 2)


def test_objects_of_a_run_have_stable_names() -> None:
    facts: list[ReadableFact[msgspec.Struct]] = [
        RUN.manifest, RUN.cut, RUN.seal, RUN.plan, RUN.aborted, RUN.cancelled, RUN.report, RUN.callback("link0"),
    ]  # fmt: skip

    assert [fact.name.removeprefix("runs/01j/") for fact in facts] == [
        "run.json", "cut.json", "seal.json", "plan.json", "aborted.json", "cancelled.json", "report.json",
        "callbacks/link0.json",
    ]  # fmt: skip
    assert [
        RUN.path, RUN.open_marker, RUN.cut_done, RUN.chunk(7), RUN.answered(3), RUN.late_folder, RUN.gathered("bq0", "p"),
    ] == [
        "runs/01j/", "open/01j", "runs/01j/cut-done", "runs/01j/chunks/00000007", "runs/01j/answered/0003",
        "runs/01j/late/", "runs/01j/gathered/bq0/p.jsonl",
    ]  # fmt: skip


def test_objects_of_an_attempt_have_stable_names() -> None:
    facts: list[ReadableFact[msgspec.Struct]] = [
        ATTEMPT.input, ATTEMPT.deduplicated, ATTEMPT.reused, ATTEMPT.intent, ATTEMPT.job, ATTEMPT.ended, ATTEMPT.parts,
        ATTEMPT.repairs, ATTEMPT.settled, ATTEMPT.late_end, ATTEMPT.harvested, ATTEMPT.parsed(5), ATTEMPT.delivered(1, 5),
    ]  # fmt: skip

    assert [fact.name.removeprefix("runs/01j/shards/0003/2/") for fact in facts] == [
        "input.json", "copies.json", "reused.json", "intent.json", "job.json", "ended.json", "parts.json",
        "repairs.json", "settled.json", "late.json", "harvested.json", "parsed/00005.json", "delivered/01-00005.json",
    ]  # fmt: skip
    assert [
        ATTEMPT.path, ATTEMPT.input_file, ATTEMPT.output_folder, ATTEMPT.results(5), ATTEMPT.results_file("rest-0-1"),
        ATTEMPT.unkeyed(5), ATTEMPT.late(5), ATTEMPT.abandoned_marker, ATTEMPT.display_name, ATTEMPT.previous.path,
    ] == [
        "runs/01j/shards/0003/2/", "runs/01j/shards/0003/2/input.jsonl", "runs/01j/shards/0003/2/output/",
        "runs/01j/shards/0003/2/results/00005.jsonl", "runs/01j/shards/0003/2/results/rest-0-1.jsonl",
        "runs/01j/shards/0003/2/unkeyed/00005.jsonl", "runs/01j/late/0003-2-00005.jsonl", "given-up/01j/3/2",
        "promptmill-01j-s0003-a2", "runs/01j/shards/0003/1/",
    ]  # fmt: skip


@pytest.mark.parametrize("run", ["", "A", "../x", "a/b", "a" * 63])
def test_a_folder_refuses_an_invalid_run_id(run: str) -> None:
    with pytest.raises(ValueError, match="not a run id"):
        RunFolder(BUCKET, run)


@pytest.mark.parametrize(("shard", "number"), [(-1, 1), (0, -1), ("../0", 1), (None, 1)])
def test_a_folder_refuses_an_invalid_number(shard: int, number: int) -> None:
    with pytest.raises(ValueError, match="not a row, shard, attempt or part number"):
        RUN.attempt(shard, number)


def test_the_first_writer_decides_what_a_fact_is() -> None:
    fact = Fact(MemoryBucket(), "f", Intent)

    assert fact.find() is None
    assert not fact.exists()
    assert fact.create(Intent("a"))
    assert not fact.create(Intent("b"))
    assert fact.create_or_get(Intent("c")) == fact.get() == fact.find() == Intent("a")


def test_an_existing_fact_is_not_created_again() -> None:
    fact = Fact(MemoryBucket(), "f", Delivered)

    assert fact.get_or_create(lambda: Delivered(1.0)) == Delivered(1.0)
    assert fact.get_or_create(lambda: pytest.fail("made again")) == Delivered(1.0)


def test_a_fact_is_replaced_only_in_the_generation_that_was_read() -> None:
    fact = Fact(MemoryBucket(), "f", Intent)
    fact.create(Intent("a"))
    stored = fact.find_object()
    assert stored

    fact.replace(Intent("b"), stored.generation)

    with pytest.raises(Conflict):
        fact.replace(Intent("c"), stored.generation)
    assert fact.get() == Intent("b")


def test_facts_are_read_in_order_until_one_is_missing() -> None:
    run = RunFolder(MemoryBucket(), "01j")
    run.plan.create(Plan([], 1.0))
    run.cancelled.create(Cancelled(2.0))

    wanted: list[ReadableFact[Cancelled | Plan | Aborted]] = [
        run.cancelled,
        run.plan,
        run.cancelled,
        run.aborted,
    ]
    facts = read_facts(run.bucket, wanted)

    assert [next(facts).at for _ in range(3)] == [2.0, 1.0, 2.0]
    with pytest.raises(NotFound):
        next(facts)
