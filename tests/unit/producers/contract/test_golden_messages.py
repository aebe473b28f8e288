"""What version 1 sent and stored, as recorded in ``tests/contract/messages/v1``, is understood by the code of today.

A recording is never made anew: a run of version 1 may be under way while its workers are replaced. A test that fails
here wants the code changed, or a version 2 beside version 1.
"""

import base64
import inspect
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from promptmill.config import names, queues
from promptmill.config.errors import MessageRefused, NewerVersion
from promptmill.producers.contract.messages import (
    CHUNK_VERSION,
    DEDUPLICATED_CHUNK_VERSION,
    RUN_VERSION,
    VERSION,
    ChunkSize,
    Ingest,
    Manifest,
    Seal,
    Signature,
    SinkSpec,
    decode_chunk,
    decode_ingest,
    decode_manifest,
    decode_pooled_call,
    encode_message,
)
from promptmill.producers.contract.results import Error, Result
from promptmill.producers.contract.status import Report
from promptmill.producers.pricing.tokens import TokenTotals
from promptmill.workers import tasks
from promptmill.workers.attempts.schema_feedback import append_feedback
from promptmill.workers.facts import dead_letters
from promptmill.workers.facts.fact import Fact
from promptmill.workers.facts.records import (
    Aborted,
    Cancelled,
    Counts,
    Created,
    Delivered,
    Ended,
    Input,
    Intent,
    Parsed,
    Parts,
    Plan,
    Settled,
    ShardPlan,
)
from promptmill.workers.facts.row_lists import FeedbackErrors
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.fakes import MemoryBucket, Script
from support.fake_pipeline import RUN, FakePipeline

V1 = Path(__file__).parents[3] / "contract" / "messages" / "v1"
V2 = V1.with_name("v2")
V3 = V1.with_name("v3")
V4 = V1.with_name("v4")
AT = 1_700_000_000.0
JOB = "projects/fake/locations/global/batchPredictionJobs/1"
MODEL = "publishers/google/models/gemini-fake"
MANIFEST = Manifest(
    RUN, MODEL, AT, sinks=[SinkSpec("jsonl", "gs://acme/answers", {"gzip": False})], max_attempts=2
)
SEAL = Seal([ChunkSize(3, 284), ChunkSize(1, 487), ChunkSize(2, 197)])

KINDS: dict[str, type[msgspec.Struct]] = {
    "run.json": Manifest,
    "seal.json": Seal,
    "plan.json": Plan,
    "aborted.json": Aborted,
    "cancelled.json": Cancelled,
    "input.json": Input,
    "intent.json": Intent,
    "job.json": Created,
    "ended.json": Ended,
    "parts.json": Parts,
    "parsed": Parsed,
    "settled.json": Settled,
    "repairs.json": FeedbackErrors,
    "delivered": Delivered,
    "report.json": Report,
    "dead": dead_letters.DeadLetter,
}
"""What a fact is decoded as, by its file's or its folder's name."""


def objects() -> dict[str, bytes]:
    """All objects of a bucket of version 1: of a run with a refused, a failed and a mended row, and a few beside it."""
    recorded = map(json.loads, (V1 / "bucket.jsonl").read_text().splitlines())
    return {
        one["name"]: one["text"].encode() if "text" in one else base64.b64decode(one["base64"])
        for one in recorded
    }


def bucket(*, without: tuple[str, ...] = ()) -> MemoryBucket:
    """A bucket of version 1, as it was before objects with these words in their names were there."""
    filled = MemoryBucket()
    for name, data in objects().items():
        if not any(word in name for word in without):
            filled.create(name, data)
    return filled


def kind_of(name: str) -> type[msgspec.Struct] | None:
    *folders, file = name.split("/")
    return KINDS.get(file) or next((KINDS[folder] for folder in folders if folder in KINDS), None)


FACTS = sorted(name for name in objects() if kind_of(name))
EACH_FACT = pytest.mark.parametrize("name", FACTS)


def test_every_kind_of_fact_is_among_those_recorded() -> None:
    assert {kind_of(name) for name in FACTS} == set(KINDS.values())


@EACH_FACT
def test_a_fact_is_read_and_written_again_without_a_loss(name: str) -> None:
    data = objects()[name]
    kind = kind_of(name)
    assert kind

    understood = msgspec.to_builtins(msgspec.json.decode(data, type=kind))

    assert contains(understood, msgspec.json.decode(data))


@EACH_FACT
def test_what_a_later_version_adds_to_a_fact_is_passed_over(name: str) -> None:
    data = objects()[name]
    kind = kind_of(name)
    assert kind

    assert msgspec.json.decode(
        msgspec.json.encode(enriched(msgspec.json.decode(data))), type=kind
    ) == (msgspec.json.decode(data, type=kind))


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        (f"runs/{RUN}/run.json", MANIFEST),
        (f"runs/{RUN}/seal.json", SEAL),
        (f"runs/{RUN}/plan.json", Plan([ShardPlan(1, 6, 0, 2)], AT)),
        (
            "runs/01jabort/aborted.json",
            Aborted("the producer gave up: KeyboardInterrupt", "cancelled", AT),
        ),
        ("runs/01jcancel/cancelled.json", Cancelled(AT)),
        (f"runs/{RUN}/shards/0000/1/input.json", Input(5, 912, 1, AT)),
        (f"runs/{RUN}/shards/0000/1/intent.json", Intent("63ddbc5d")),
        (f"runs/{RUN}/shards/0000/1/job.json", Created(JOB, AT)),
        (f"runs/{RUN}/shards/0000/1/delivered/00-00002.json", Delivered(AT)),
        (
            names.dead_letter(f"{RUN}.s000.a1.p00000.parse"),
            dead_letters.DeadLetter(
                f"{RUN}.s000.a1.p00000.parse", "promptmill.parse", [RUN, 0, 1, 0], "ValueError", AT
            ),
        ),
    ],
)
def test_a_fact_means_what_it_meant(name: str, fact: msgspec.Struct) -> None:
    assert Fact(bucket(), name, type(fact)).get() == fact


def test_the_counts_and_bitmaps_of_a_part_mean_what_they_meant() -> None:
    parsed = RunFolder(bucket(), RUN).attempt(0, 1).parsed(0).get()
    settled = RunFolder(bucket(), RUN).attempt(0, 1).settled.get()

    assert parsed.counts == Counts(
        2,
        1,
        {"UNKNOWN": 1},
        {"candidatesTokenCount": 11, "promptTokenCount": 2, "totalTokenCount": 13},
    )
    assert [RowSet.unpack(rows) for rows in (parsed.succeeded, parsed.failed)] == [
        RowSet(0b010001),
        RowSet(0b001000),
    ]
    assert (RowSet.unpack(settled.retried_rows), settled.retried) == (RowSet(0b001010), 2)
    assert [RowSet.unpack(file.drop_failed) for file in settled.files] == [
        RowSet(0b001000),
        RowSet(),
        RowSet(),
    ]


def test_what_was_wrong_with_an_answer_means_what_it_meant() -> None:
    attempt = RunFolder(bucket(), "01jschema").attempt(0, 1)
    parsed, settled = attempt.parsed(0).get(), attempt.settled.get()
    kept = attempt.repairs.get().errors_by_row()

    wrong = '/mood: the value is not one of "good", "bad" or "mixed"; /stars: the value is greater than the maximum of 5'
    assert [
        RowSet.unpack(rows)
        for rows in (parsed.invalid, settled.retried_rows, settled.feedback_rows)
    ] == [RowSet(0b10)] * 3
    assert kept == {1: wrong}


def test_a_row_that_is_asked_for_once_more_has_the_same_bytes_as_it_had() -> None:
    """Another version may be at the same attempt, and a job is joined by the hash of what it was asked."""
    kept = RunFolder(bucket(), "01jschema").attempt(0, 1).repairs.get().errors_by_row()
    (line,) = bucket().read(RunFolder(bucket(), "01jschema").attempt(0, 2).input_file).splitlines()
    wire = json.loads(line)
    wire["request"]["contents"][0]["parts"].pop()

    assert append_feedback(msgspec.json.encode(wire), kept[1]) == line


def test_a_dead_letter_gives_back_the_bytes_that_were_sent() -> None:
    letter = Fact(
        bucket(), names.dead_letter(f"{RUN}.c00000.ingest"), dead_letters.DeadLetter
    ).get()

    assert dead_letters.decode_arguments(letter) == [b"\x00\x01"]


def test_an_ingest_message_means_what_it_meant() -> None:
    first = decode_ingest((V1 / "ingest.msgpack").read_bytes())
    chunk = decode_chunk(first.chunk)

    assert (first.run, first.seal, first.v) == (MANIFEST, None, 1)
    assert (chunk.index, chunk.first_row, chunk.requests, chunk.refused) == (0, 1, 3, [3])
    assert chunk.decompress_lines().count(b"\n") == 3
    assert decode_ingest((V1 / "ingest-last.msgpack").read_bytes()).seal == SEAL


def test_a_message_of_a_run_with_a_deadline_means_what_it_meant() -> None:
    message = decode_ingest((V1 / "ingest-deadline.msgpack").read_bytes())

    assert message.run == msgspec.structs.replace(MANIFEST, deadline=129_600.0)


def test_a_message_of_a_run_with_a_response_schema_means_what_it_meant() -> None:
    message = decode_ingest((V1 / "ingest-schema.msgpack").read_bytes())

    schema = {
        "type": "object",
        "properties": {"stars": {"type": "integer", "maximum": 5}},
        "required": ["stars"],
    }
    assert message.run == msgspec.structs.replace(
        MANIFEST, response_schema=schema, retry_schema_invalid=True
    )


def test_a_message_of_a_run_on_tables_means_what_it_meant_and_is_left_to_workers_that_know_tables() -> (
    None
):
    data = (V2 / "ingest-tables.msgpack").read_bytes()

    assert decode_ingest(data).run == msgspec.structs.replace(MANIFEST, tables="acme.answers", v=2)
    assert RUN_VERSION > 2 > VERSION


def test_a_chunk_with_identical_requests_means_what_it_meant_and_is_left_to_workers_that_know_of_them() -> (
    None
):
    """One that does not would say of rows that were not asked that they are missing."""
    message = decode_ingest((V2 / "ingest-copies.msgpack").read_bytes())
    chunk = decode_chunk(message.chunk)

    assert message.run == MANIFEST
    assert message.seal and (message.seal.chunks, message.seal.deduplicated) == (
        [ChunkSize(3, 326)],
        1,
    )
    assert (chunk.requests, chunk.deduplicated, chunk.v) == (3, 1, DEDUPLICATED_CHUNK_VERSION)
    assert DEDUPLICATED_CHUNK_VERSION > VERSION


def test_a_run_that_reuses_answers_means_what_it_meant_and_all_of_it_is_left_to_workers_that_know_of_them() -> (
    None
):
    """Steps carry ids only: one that does not is kept from a run by its chunks."""
    message = decode_ingest((V3 / "ingest-skip-done.msgpack").read_bytes())
    chunk = decode_chunk(message.chunk)

    assert message.run == msgspec.structs.replace(MANIFEST, reuse_answers=True, v=3)
    assert message.seal and message.seal.chunks == [ChunkSize(2, 220)]
    assert (chunk.requests, chunk.deduplicated, chunk.v) == (2, 0, 3)
    assert (RUN_VERSION, CHUNK_VERSION) == (4, 3)


def test_a_run_that_keeps_parts_means_what_it_meant_and_is_left_to_workers_that_know_of_them() -> (
    None
):
    message = decode_ingest((V4 / "ingest-keep.msgpack").read_bytes())

    assert message.run == msgspec.structs.replace(MANIFEST, keep=["grounding", "thoughts"], v=4)
    assert decode_chunk(message.chunk).requests == 2


def test_a_message_of_a_run_with_callbacks_means_what_it_meant() -> None:
    message = decode_ingest((V1 / "ingest-callbacks.msgpack").read_bytes())

    notify = Signature("shop.notify", ["#growth"], {"colour": "red"}, {"queue": "shop"})
    assert message.run == msgspec.structs.replace(
        MANIFEST,
        link=[[notify, Signature("shop.next", immutable=True)]],
        link_error=[[Signature("shop.page")]],
        parent="01jparent",
        v=2,
    )


def test_a_message_of_a_run_with_a_limit_of_costs_means_what_it_meant() -> None:
    """It is of version 2: a worker that would pass the limit over leaves it to one that does not."""
    message = decode_ingest((V1 / "ingest-limit.msgpack").read_bytes())

    assert message.run == msgspec.structs.replace(MANIFEST, max_cost_usd=2.5, v=2)
    assert message.seal and message.seal.tokens == [
        TokenTotals(
            sent=2, text=20, most=114, largest=105, answers=320, named=64, longest=64, unnamed=1
        )
    ]
    assert decode_chunk(message.chunk).tokens == message.seal.tokens[0]


def test_what_a_call_of_collect_sent_means_what_it_meant() -> None:
    pooled = decode_pooled_call((V1 / "pooled.msgpack").read_bytes())
    template = decode_manifest(pooled.run)

    request = {"contents": [{"role": "user", "parts": [{"text": "Say two"}]}]}
    assert (pooled.id, pooled.pool, pooled.requests, pooled.v) == (
        "01kb0000000000000000000000",
        "tickets",
        2,
        1,
    )
    assert (template.run, template.name, template.labels) == ("", "tickets", {"pool": "tickets"})
    assert pooled.decode_prompts() == [
        {"key": "t-1", "prompt": "Say one"},
        {"key": "t-2", "metadata": {"shop": 7}, "request": request},
    ]


@pytest.mark.parametrize(
    "wrong", [{"pool": "../runs"}, {"id": "a/b"}, {"pool": 7}, {"requests": 0}]
)
def test_what_a_call_of_collect_cannot_have_sent_is_refused(wrong: dict[str, Any]) -> None:
    message = msgspec.msgpack.decode((V1 / "pooled.msgpack").read_bytes())

    with pytest.raises(MessageRefused):
        decode_pooled_call(msgspec.msgpack.encode(message | wrong))


@pytest.mark.parametrize(
    "wrong", [{"size": 10}, {"requests": 3}, {"data": b"no"}, {"size": 1 << 40}]
)
def test_what_does_not_hold_what_it_says_is_refused(wrong: dict[str, Any]) -> None:
    pooled = decode_pooled_call((V1 / "pooled.msgpack").read_bytes())

    with pytest.raises(MessageRefused):
        msgspec.structs.replace(pooled, **wrong).decode_prompts()


def test_what_newer_producers_collect_is_left_to_newer_workers() -> None:
    message = msgspec.msgpack.decode((V1 / "pooled.msgpack").read_bytes())

    with pytest.raises(NewerVersion):
        decode_pooled_call(msgspec.msgpack.encode(message | {"v": VERSION + 1}))
    with pytest.raises(NewerVersion):
        decode_manifest(encode_message(msgspec.structs.replace(MANIFEST, v=RUN_VERSION + 1)))


@pytest.mark.parametrize(
    "file",
    [
        "ingest.msgpack",
        "ingest-last.msgpack",
        "ingest-deadline.msgpack",
        "ingest-callbacks.msgpack",
        "ingest-limit.msgpack",
    ],
)
def test_what_a_later_producer_adds_to_a_message_is_passed_over(file: str) -> None:
    data = (V1 / file).read_bytes()
    message = msgspec.msgpack.decode(data)
    message["chunk"] = msgspec.msgpack.encode(enriched(msgspec.msgpack.decode(message["chunk"])))

    understood = decode_ingest(msgspec.msgpack.encode(enriched(message)))

    assert (understood.run, understood.seal) == (decode_ingest(data).run, decode_ingest(data).seal)
    assert decode_chunk(understood.chunk) == decode_chunk(decode_ingest(data).chunk)


@pytest.mark.parametrize(
    "message",
    [
        encode_message(Ingest(MANIFEST, b"", None, VERSION + 1)),
        encode_message(Ingest(msgspec.structs.replace(MANIFEST, v=RUN_VERSION + 1), b"")),
        msgspec.msgpack.encode({"v": VERSION + 1, "run": "a name alone", "chunks": [1, 2]}),
    ],
    ids=["a message", "a run", "another shape"],
)
def test_a_message_of_a_later_version_is_left_to_newer_workers(message: bytes) -> None:
    with pytest.raises(NewerVersion, match=rf"newer than ({VERSION}|{RUN_VERSION})"):
        decode_ingest(message)


@pytest.mark.parametrize(
    "run", ["../01j", "01j/../../open", "01j\n", "", "A", "x" * 63, ".", "01j\x00"]
)
def test_a_message_of_a_run_that_would_leave_its_folder_is_refused(run: str) -> None:
    with pytest.raises(MessageRefused, match="not a run id"):
        decode_ingest(encode_message(Ingest(msgspec.structs.replace(MANIFEST, run=run), b"")))


@pytest.mark.parametrize(
    "wrong",
    [
        {"index": -1},
        {"index": 10**8},
        {"index": "0"},
        {"first_row": -5},
        {"requests": 1.5},
        {"refused": "all"},
        {"data": None},
    ],
    ids=str,
)
def test_a_chunk_with_a_wrong_field_is_refused(wrong: dict[str, Any]) -> None:
    chunk = msgspec.msgpack.decode(decode_ingest((V1 / "ingest.msgpack").read_bytes()).chunk)

    with pytest.raises(MessageRefused, match="not a valid chunk message: "):
        decode_chunk(msgspec.msgpack.encode(chunk | wrong))


@pytest.mark.parametrize(("name", "arguments"), json.loads((V1 / "tasks.json").read_text()).items())
def test_a_task_still_takes_the_arguments_that_it_was_sent_with(
    name: str, arguments: list[Any]
) -> None:
    task = getattr(tasks, name.removeprefix("promptmill."))

    assert task.name == name
    assert name in queues.TASK_QUEUES
    inspect.signature(task.run).bind(*arguments)


@pytest.mark.parametrize(
    "not_yet",
    [
        ("report",),
        ("report", "delivered"),
        ("report", "delivered", "settled"),
        ("report", "0000/2/", "delivered", "settled", "parsed", "parts", "results"),
        ("report", "shards"),
        ("report", "shards", "plan"),
    ],
    ids=lambda words: words[-1],
)
def test_a_run_that_version_1_left_in_its_middle_is_carried_to_its_end(
    not_yet: tuple[str, ...],
) -> None:
    report = RunFolder(bucket(), RUN).report.get()
    pipeline = FakePipeline(
        script=Script(missing=frozenset({1}), statuses={2: "Error: 400 INVALID_ARGUMENT: refused"})
    )
    pipeline.bucket = bucket(without=not_yet)
    pipeline.jobs = type(pipeline.jobs)(
        pipeline.bucket, script=pipeline.script, clock=pipeline.clock
    )
    pipeline.bucket.create(pipeline.folder().open_marker, b"")

    ended = pipeline.drive(RUN)

    assert (ended.state, ended.failures, ended.tokens) == (
        report.state,
        report.failures,
        report.tokens,
    )
    assert (ended.requests, ended.succeeded, ended.failed, ended.unaccounted) == (6, 4, 2, 0)
    assert {result.row: result.error for result in pipeline.results(RUN) if result.error} == {
        3: Error("INVALID_REQUEST", "row 3: the prompt is empty"),
        4: Error("MISSING_ROW", "the job's output has no row for this request"),
    }


def test_the_results_of_a_run_of_version_1_are_read() -> None:
    pipeline = FakePipeline()
    pipeline.bucket = bucket()

    first, second, *_ = pipeline.results(RUN)

    assert [result.row for result in pipeline.results(RUN)] == [1, 2, 3, 4, 5, 6]
    assert first.text == "You said: Say hello"
    assert second == Result(
        "sku-2",
        2,
        "succeeded",
        text="You said: Say goodbye",
        finish_reason="STOP",
        usage={"promptTokenCount": 1, "candidatesTokenCount": 6, "totalTokenCount": 7},
        attempt=2,
        model_version="fake",
        metadata={"shop": 7},
    )


def enriched(value: Any) -> Any:
    """The same with a field in every mapping that nobody knows; the names of others' things are left alone."""
    if isinstance(value, dict):
        known = {name: enriched(one) for name, one in value.items() if name not in FREE} | _free(
            value
        )
        return known | {"colour": "blue"}
    return [enriched(one) for one in value] if isinstance(value, list) else value


FREE = {"kwargs", "labels", "options", "failures", "tokens", "seconds", "arguments"}
"""Fields that hold whatever names there are."""


def _free(value: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name in FREE}


def contains(whole: Any, part: Any) -> bool:
    """Whether all that is in ``part`` is in ``whole`` too."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            contains(whole.get(name), one) for name, one in part.items()
        )
    return bool(whole == part)
