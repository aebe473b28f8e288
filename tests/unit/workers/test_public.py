"""The public payload: what every Celery app may send is understood, and what is not is said in words."""

import json
from pathlib import Path
from typing import Any

import pytest
from celery.utils.threads import LocalStack

from driver import Mill
from promptmill.config import names
from promptmill.config.errors import IdempotencyConflict, MessageRefused, NewerVersion
from promptmill.producers.messages import Manifest, Signature
from promptmill.producers.mill import run_id
from promptmill.workers import dead, facts, public
from station import Station

PAYLOADS = Path(__file__).parents[2] / "contract" / "messages" / "v1" / "public"
SMALLEST: dict[str, Any] = {"v": 1, "prompts": ["Say hello"], "idempotency_key": "k", "model": "gemini-3.8-flash"}


def recorded() -> dict[str, Any]:
    return dict(json.loads((PAYLOADS / "submit_prompts.json").read_text()))


def test_a_recorded_payload_means_what_it_meant() -> None:
    station = Station(Mill())

    assert public.submit(station.services, public.decode(recorded()))

    run = run_id("greetings/2026-11-24")
    manifest = facts.get(station.mill.bucket, names.manifest(run), Manifest)
    assert (manifest.model, manifest.name) == ("publishers/google/models/gemini-3.8-flash", "greetings")
    assert (manifest.labels, manifest.max_attempts, manifest.retry_max_tokens) == ({"team": "growth"}, 2, 4096)
    assert (manifest.deadline, manifest.idempotent, manifest.v) == (129_600.0, True, 2)
    assert manifest.link == [[Signature("shop.notify", ["#growth"], options={"queue": "shop"})]]
    assert manifest.link_error == [[Signature("shop.page")]]
    assert [(sink.kind, sink.url) for sink in manifest.sinks] == [
        ("jsonl", "gs://acme/answers"),
        ("celery", "celery:shop.store"),
    ]
    assert facts.load(station.mill.bucket, run).is_whole
    assert station.status.requests == 2


def test_a_payload_that_comes_again_changes_nothing() -> None:
    station = Station(Mill())
    public.submit(station.services, public.decode(recorded()))
    before = {stored.name: stored.generation for stored in station.mill.bucket.list("")}

    public.submit(station.services, public.decode(recorded()))

    assert {stored.name: stored.generation for stored in station.mill.bucket.list("")} == before


def test_a_payload_that_comes_again_after_redis_was_wiped_changes_nothing() -> None:
    station = Station(Mill())
    public.submit(station.services, public.decode(SMALLEST))
    before = {stored.name: stored.generation for stored in station.mill.bucket.list("")}
    wiped = Station(station.mill)

    assert public.submit(wiped.services, public.decode(SMALLEST))

    assert {stored.name: stored.generation for stored in station.mill.bucket.list("")} == before


def test_other_content_under_the_same_key_is_a_conflict() -> None:
    station = Station(Mill())
    public.submit(station.services, public.decode(SMALLEST))

    with pytest.raises(IdempotencyConflict):
        public.submit(station.services, public.decode(SMALLEST | {"prompts": ["Say goodbye"]}))


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
def test_a_payload_that_breaks_the_contract_is_refused_without_a_word_of_what_is_in_it(
    payload: Any, words: str
) -> None:
    with pytest.raises(MessageRefused, match=words) as refusal:
        public.decode(payload)

    assert "secret words" not in str(refusal.value)


def test_a_payload_of_a_later_version_is_left_to_newer_workers() -> None:
    with pytest.raises(NewerVersion):
        public.decode({"v": public.VERSION + 1, "requests": 3})


def test_a_parked_submission_is_sent_again_as_it_came() -> None:
    bucket = Mill().bucket
    dead.park(bucket, "submit-0a", "promptmill.submit_prompts", [recorded()], "poison")

    (letter,) = dead.letters(bucket)

    assert dead.arguments(letter) == [recorded()]


def test_the_id_of_whoever_sends_a_submission_is_its_key_and_never_part_of_a_name() -> None:
    station = Station(Mill())
    seen: list[Any] = []

    class Task(public.Public):
        name = "t"
        request_stack: Any = LocalStack()

        def run(self, payload: dict[str, Any]) -> None:
            seen.append((payload, self.step_id))

    task: Any = type("Bound", (Task,), {"services": station.services, "flow": station.flow})()
    for kwargs in ({}, {"idempotency_key": "mine"}):
        task.push_request(id="../Nightly 2026", called_directly=False)
        task(**{"v": 1, **kwargs})

    assert [payload["idempotency_key"] for payload, _ in seen] == ["../Nightly 2026", "mine"]
    assert all(names.dead_letter(step) for _, step in seen)
