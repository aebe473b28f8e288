"""The public payload: valid ones start a run, and errors of others name the field."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from celery.utils.threads import LocalStack

from faults.simulation.celery_app import shared
from promptmill.config import names
from promptmill.config.errors import (
    ConfigurationError,
    IdempotencyConflict,
    MessageRefused,
    NewerVersion,
    PromptmillError,
    Transient,
)
from promptmill.producers.contract import callbacks
from promptmill.producers.contract.ids import make_run_id
from promptmill.producers.contract.messages import (
    CHUNK_VERSION,
    Signature,
    decode_chunk,
)
from promptmill.workers import public_tasks
from promptmill.workers.facts import dead_letters, snapshot
from promptmill.workers.sinks.callback import MAX_TASK_BYTES, MAX_TASK_RESULTS
from support.fake_pipeline import FakePipeline
from support.fake_worker import FakeWorker

PAYLOADS = Path(__file__).parents[2] / "contract" / "messages" / "v1" / "public"
SMALLEST: dict[str, Any] = {
    "v": 1,
    "prompts": ["Say hello"],
    "idempotency_key": "k",
    "model": "gemini-3.8-flash",
}


def recorded() -> dict[str, Any]:
    return dict(json.loads((PAYLOADS / "submit_prompts.json").read_text()))


def test_a_recorded_payload_keeps_its_meaning() -> None:
    worker = FakeWorker(FakePipeline())

    assert public_tasks.submit_run(worker.services, public_tasks.decode_submission(recorded()))

    run = make_run_id("greetings/2026-11-24")
    manifest = worker.pipeline.folder(run).manifest.get()
    assert (manifest.model, manifest.name) == (
        "publishers/google/models/gemini-3.8-flash",
        "greetings",
    )
    assert (manifest.labels, manifest.max_attempts, manifest.retry_max_tokens) == (
        {"team": "growth"},
        2,
        4096,
    )
    assert (manifest.deadline, manifest.idempotent, manifest.v) == (129_600.0, True, 2)
    assert manifest.link == [[Signature("shop.notify", ["#growth"], options={"queue": "shop"})]]
    assert manifest.link_error == [[Signature("shop.page")]]
    assert [(sink.kind, sink.url) for sink in manifest.sinks] == [
        ("jsonl", "gs://acme/answers"),
        ("celery", "celery:shop.store"),
    ]
    assert snapshot.load_snapshot(worker.pipeline.bucket, run).is_whole
    assert worker.status.requests == 2


def test_a_payload_may_limit_the_cost_of_its_run() -> None:
    worker = FakeWorker(FakePipeline())

    public_tasks.submit_run(
        worker.services, public_tasks.decode_submission(SMALLEST | {"max_cost_usd": 2.5})
    )

    manifest = worker.pipeline.folder(make_run_id("k")).manifest.get()
    assert (manifest.max_cost_usd, manifest.v) == (2.5, 2)


@pytest.mark.parametrize(("other", "copies"), [({}, 2), ({"repeat_identical": True}, 0)])
def test_identical_prompts_of_a_payload_are_sent_once_unless_it_repeats_them(
    other: dict[str, Any], copies: int
) -> None:
    worker = FakeWorker(FakePipeline())

    public_tasks.submit_run(
        worker.services,
        public_tasks.decode_submission(SMALLEST | {"prompts": ["a", "a", "b", "a"]} | other),
    )

    sealed = worker.pipeline.folder(make_run_id("k")).seal.get()
    assert (sealed.total_requests, sealed.deduplicated) == (4, copies)


def test_a_run_that_reuses_answers_is_left_to_workers_that_support_it() -> None:
    worker = FakeWorker(FakePipeline())

    public_tasks.submit_run(
        worker.services, public_tasks.decode_submission(SMALLEST | {"skip_done": True})
    )

    manifest = worker.pipeline.folder(make_run_id("k")).manifest.get()
    chunk = decode_chunk(
        worker.pipeline.bucket.read(worker.pipeline.folder(make_run_id("k")).chunk(0))
    )
    assert (manifest.reuse_answers, manifest.v, chunk.v) == (True, 3, CHUNK_VERSION)


def test_a_redelivered_payload_changes_nothing() -> None:
    worker = FakeWorker(FakePipeline())
    public_tasks.submit_run(worker.services, public_tasks.decode_submission(recorded()))
    before = {stored.name: stored.generation for stored in worker.pipeline.bucket.list("")}

    public_tasks.submit_run(worker.services, public_tasks.decode_submission(recorded()))

    assert {stored.name: stored.generation for stored in worker.pipeline.bucket.list("")} == before


def test_a_payload_redelivered_after_redis_was_wiped_changes_nothing() -> None:
    worker = FakeWorker(FakePipeline())
    public_tasks.submit_run(worker.services, public_tasks.decode_submission(SMALLEST))
    before = {stored.name: stored.generation for stored in worker.pipeline.bucket.list("")}
    wiped = FakeWorker(worker.pipeline)

    assert public_tasks.submit_run(wiped.services, public_tasks.decode_submission(SMALLEST))

    assert {stored.name: stored.generation for stored in worker.pipeline.bucket.list("")} == before


ROWS: dict[str, Any] = {
    "v": 1,
    "idempotency_key": "reviews/2026-11-24",
    "model": "gemini-3.8-flash",
    "source": "gs://acme/rows/reviews.csv",
    "template": "Classify: {{ text }}",
    "key": "id",
    "metadata": ["shop"],
    "media": ["photo"],
    "system_instruction": "Be brief.",
    "generation_config": {"temperature": 0},
}


@pytest.fixture
def reader() -> FakeWorker:
    """A worker that may read rows from one folder."""
    worker = FakeWorker(FakePipeline(), {"sources": "gs://acme/rows/"})
    worker.pipeline.bucket.write(
        "reviews.csv", b"id,text,shop,photo\n1,good,7,gs://acme/a.jpg\n2,bad,8,\n3,cut\n"
    )
    return worker


def test_rows_in_a_bucket_are_read_by_the_worker(reader: FakeWorker) -> None:
    assert public_tasks.submit_run(reader.services, public_tasks.decode_submission(ROWS))

    chunk = decode_chunk(
        reader.pipeline.bucket.read(
            reader.pipeline.folder(make_run_id(ROWS["idempotency_key"])).chunk(0)
        )
    )
    first, *refused = map(json.loads, chunk.decompress_lines().splitlines())
    assert first["key"].endswith("-1-1")
    assert json.loads(first["metadata"]) == {"shop": "7"}
    assert first["request"] == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"fileData": {"fileUri": "gs://acme/a.jpg", "mimeType": "image/jpeg"}},
                    {"text": "Classify: good"},
                ],
            }
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"temperature": 0},
    }
    assert ["error" in line for line in refused] == [True, True]
    assert chunk.refused == [2, 3]


def test_rows_that_are_read_again_change_nothing(reader: FakeWorker) -> None:
    public_tasks.submit_run(reader.services, public_tasks.decode_submission(ROWS))
    before = {stored.name: stored.generation for stored in reader.pipeline.bucket.list("")}

    public_tasks.submit_run(reader.services, public_tasks.decode_submission(ROWS))

    assert {stored.name: stored.generation for stored in reader.pipeline.bucket.list("")} == before


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"source": "gs://acme/secret/reviews.csv"}, "PROMPTMILL_SOURCES"),
        ({"source": "gs://acme/rows/"}, "PROMPTMILL_SOURCES"),
        ({"source": "gs://acme/rows/none.csv"}, "does not exist"),
        ({"template": "{{ txt }}"}, "needs the column 'txt'"),
        ({"template": "{{ text"}, "the template, line 1"),
        ({"strict": True}, "row 2 .* the URI of media 1 is empty"),
    ],
)
def test_rows_that_cannot_be_read_or_sent_are_refused(
    reader: FakeWorker, other: dict[str, Any], told: str
) -> None:
    with pytest.raises(PromptmillError, match=told):
        public_tasks.submit_run(reader.services, public_tasks.decode_submission(ROWS | other))


def test_workers_read_only_from_allowed_folders() -> None:
    with pytest.raises(ConfigurationError, match="PROMPTMILL_SOURCES"):
        public_tasks.submit_run(
            FakeWorker(FakePipeline()).services, public_tasks.decode_submission(ROWS)
        )


@pytest.mark.parametrize(
    "other",
    [
        {"source": "/etc/passwd"},
        {"source": "-"},
        {"source": ""},
        {"template": ""},
        {"prompts": ["Say hello"]},
    ],
    ids=str,
)
def test_a_source_is_in_a_bucket_and_replaces_prompts(other: dict[str, Any]) -> None:
    with pytest.raises(MessageRefused, match="not a submission of version 1"):
        public_tasks.decode_submission(ROWS | other)


def test_other_content_under_the_same_key_is_a_conflict() -> None:
    worker = FakeWorker(FakePipeline())
    public_tasks.submit_run(worker.services, public_tasks.decode_submission(SMALLEST))

    with pytest.raises(IdempotencyConflict):
        public_tasks.submit_run(
            worker.services,
            public_tasks.decode_submission(SMALLEST | {"prompts": ["Say goodbye"]}),
        )


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({}, "required field"),
        (SMALLEST | {"prompts": "secret words"}, "prompts"),
        (SMALLEST | {"labels": ["secret words"]}, "labels"),
        (SMALLEST | {"max_cost": 3}, "unknown field `max_cost`"),
        (SMALLEST | {"v": "1"}, "v"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_invalid_payload_is_refused_without_quoting_it(payload: Any, words: str) -> None:
    with pytest.raises(MessageRefused, match=words) as refusal:
        public_tasks.decode_submission(payload)

    assert "secret words" not in str(refusal.value)


def test_a_payload_of_a_later_version_is_left_to_newer_workers() -> None:
    with pytest.raises(NewerVersion):
        public_tasks.decode_submission({"v": public_tasks.VERSION + 1, "requests": 3})


def test_a_parked_submission_is_sent_again_unchanged() -> None:
    bucket = FakePipeline().bucket
    dead_letters.park_task(bucket, "submit-0a", "promptmill.submit_prompts", [recorded()], "poison")

    (letter,) = dead_letters.read_letters(bucket)

    assert dead_letters.decode_arguments(letter) == [recorded()]


def test_the_task_id_of_a_submission_is_its_key_and_never_part_of_a_name() -> None:
    worker = FakeWorker(FakePipeline())
    seen: list[Any] = []

    class Task(public_tasks.PublicTask):
        name = "t"
        request_stack: Any = LocalStack()

        def run(self, payload: dict[str, Any]) -> None:
            seen.append((payload, self.step_id))

    task: Any = type("Bound", (Task,), {"services": worker.services, "dispatcher": worker.flow})()
    for kwargs in ({}, {"idempotency_key": "mine"}):
        task.push_request(id="../Nightly 2026", called_directly=False)
        task(**{"v": 1, **kwargs})

    assert [payload["idempotency_key"] for payload, _ in seen] == ["../Nightly 2026", "mine"]
    assert all(names.dead_letter(step) for _, step in seen)


def test_the_guide_lists_every_field_of_the_payload() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guides" / "celery.md").read_text()
    rows = page.partition("| field |")[2].partition("\n\n")[0].splitlines()[2:]

    told = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(told) == sorted(public_tasks.Submission.__struct_encode_fields__)


def test_the_guide_lists_every_field_of_a_summary_and_the_bounds_of_a_slice() -> None:
    page = " ".join(
        (Path(__file__).parents[3] / "docs" / "guides" / "celery.md").read_text().split()
    )
    pipeline = FakePipeline(link=[[Signature("shop.notify")]])
    pipeline.drive(pipeline.send(["a"]))

    assert [name for name in pipeline.caller.sent[0].args[0] if f"`{name}`" not in page] == []
    assert f"at most {MAX_TASK_RESULTS} results" in page
    assert f"at most {MAX_TASK_BYTES >> 10} KiB" in page
    assert all(f"`{option}`" in page for option in callbacks.SIGNATURE_OPTIONS)


def test_a_submission_interrupted_anywhere_is_completed_by_its_redelivery() -> None:
    payload = SMALLEST | {"prompts": [f"{row} " + "word " * 500 for row in range(30)]}
    unbroken = FakeWorker(FakePipeline(), {"chunk_bytes": 1 << 14})
    public_tasks.submit_run(unbroken.services, public_tasks.decode_submission(payload))
    wanted = {
        stored.name: unbroken.pipeline.bucket.read(stored.name)
        for stored in unbroken.pipeline.bucket.list("runs/")
    }
    assert len([name for name in wanted if "/chunks/" in name]) > 3
    for breaks_at in range(1, len(wanted) + 2):
        worker = FakeWorker(FakePipeline(), {"chunk_bytes": 1 << 14})
        real, left = worker.pipeline.bucket.create, [breaks_at]

        def create(name: str, data: bytes, real: Any = real, left: list[int] = left) -> bool:
            left[0] -= 1
            if left[0] == 0:
                raise Transient("gone")
            return bool(real(name, data))

        worker.pipeline.bucket.create = create  # type: ignore[method-assign]
        with pytest.raises(Transient):
            public_tasks.submit_run(worker.services, public_tasks.decode_submission(payload))
        worker.pipeline.bucket.create = real  # type: ignore[method-assign]

        assert public_tasks.submit_run(worker.services, public_tasks.decode_submission(payload))
        found = {
            stored.name: worker.pipeline.bucket.read(stored.name)
            for stored in worker.pipeline.bucket.list("runs/")
        }
        assert {name: data for name, data in found.items() if "run.json" not in name} == {
            name: data for name, data in wanted.items() if "run.json" not in name
        }


def test_a_refused_submission_that_is_redelivered_does_not_open_its_run_again() -> None:
    worker, tasks = FakeWorker(FakePipeline()), shared()
    run, refused = make_run_id("k"), SMALLEST | {"deadline": "soon"}
    tasks.bind(lambda: worker.services, worker.send_task, lambda _: 0)
    tasks.run("promptmill.submit_prompts", [refused], "again", 0)
    assert worker.pipeline.bucket.find(worker.pipeline.folder(run).open_marker) is not None
    worker.pipeline.drive(run)

    tasks.run("promptmill.submit_prompts", [refused], "again", 0)

    assert worker.pipeline.bucket.find(worker.pipeline.folder(run).open_marker) is None
    assert worker.pipeline.report(run).state == "failed"
