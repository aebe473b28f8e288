"""One paid job for each attempt of a shard, whatever happens while it is created."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from promptmill.config import names
from promptmill.config.errors import Permanent, Transient
from promptmill.workers.facts.fact import encode_fact
from promptmill.workers.facts.records import Created, Intent
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.fakes import FakeJobs, MemoryBucket
from promptmill.workers.ports.google import Job, JobRequest, ObjectInfo
from promptmill.workers.steps.submit import submit
from support.driver import MODEL, RUN, SETTLE, Clock, Mill

FOLDER = f"runs/{RUN}/shards/0000/1/"
CANCELLED = f"runs/{RUN}/cancelled.json"


@pytest.fixture
def mill() -> Mill:
    """A mill with a run whose input is written."""
    mill = Mill()
    mill.send(["a", "b"])
    mill.do(Step("plan", RUN))
    mill.do(Step("shard", RUN, (0, 1)))
    return mill


def create(mill: Mill, owner: str) -> Created | Wait:
    return submit(mill.folder().attempt(0, 1), mill.jobs, owner=owner, visibility_seconds=SETTLE)


def intent(mill: Mill) -> str:
    return mill.folder().attempt(0, 1).intent.get().owner


def test_the_job_is_created_with_what_is_needed_to_find_it_again(mill: Mill) -> None:
    made = create(mill, "me")

    (asked,) = mill.jobs.requests
    assert made == mill.folder().attempt(0, 1).job.get()
    assert asked.model == MODEL
    assert (asked.input_uri, asked.output_uri) == (
        f"gs://fake/mill/{FOLDER}input.jsonl",
        f"gs://fake/mill/{FOLDER}output",
    )
    assert asked.labels == {
        "promptmill": names.deployment_id("gs://fake/mill"),
        "run": RUN,
        "shard": "0",
        "attempt": "1",
    }
    assert asked.display_name == f"promptmill-{RUN}-s0000-a1"


def test_who_comes_again_finds_the_job_that_is_there(mill: Mill) -> None:
    made = create(mill, "me")

    assert create(mill, "you") == made
    assert len(mill.jobs.requests) == 1


def test_a_job_whose_creation_was_not_answered_is_adopted(mill: Mill) -> None:
    mill.jobs.lose_next_response()
    assert isinstance(create(mill, "me"), Wait)

    made = create(mill, "me again")

    assert isinstance(made, Created)
    assert made.name
    assert len(mill.jobs.requests) == 1


def test_a_job_that_is_listed_late_is_waited_for_and_adopted(mill: Mill) -> None:
    mill.jobs.lose_next_response()
    mill.jobs.hide_new_jobs(SETTLE - 1)
    create(mill, "me")

    waited = 0.0
    while isinstance(made := create(mill, "again"), Wait):
        mill.clock.now += made.seconds
        waited += made.seconds

    assert made.name
    assert len(mill.jobs.requests) == 1
    assert SETTLE - 1 <= waited <= SETTLE + 62


def test_an_intent_is_taken_over_only_when_no_job_can_turn_up_any_more(mill: Mill) -> None:
    mill.bucket.create(FOLDER + "intent.json", encode_fact(Intent("gone")))

    mill.clock.now += SETTLE - 1
    assert isinstance(create(mill, "me"), Wait)
    assert mill.jobs.requests == []
    assert intent(mill) == "gone"

    mill.clock.now += 2
    assert isinstance(create(mill, "me"), Created)
    assert len(mill.jobs.requests) == 1
    assert intent(mill) == "me"


def test_only_the_clock_of_the_bucket_says_how_old_an_intent_is(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill.bucket.create(FOLDER + "intent.json", encode_fact(Intent("gone")))
    monkeypatch.setattr("time.time", lambda: mill.clock.now + 1e6)
    monkeypatch.setattr("time.monotonic", lambda: 1e6)

    assert isinstance(create(mill, "me"), Wait)
    assert mill.jobs.requests == []


def test_a_creation_that_was_put_off_gives_the_intent_back_at_once(mill: Mill) -> None:
    mill.jobs.refuse_next(Transient("429"))

    with pytest.raises(Transient, match="429"):
        create(mill, "me")

    assert intent(mill) == ""
    assert isinstance(create(mill, "you"), Created)
    assert len(mill.jobs.requests) == 1


def test_a_creation_that_is_refused_ends_the_attempt_without_a_job(mill: Mill) -> None:
    mill.jobs.refuse_next(Permanent("Vertex: 404 no such model"))

    made = create(mill, "me")

    assert isinstance(made, Created)
    assert (made.name, made.refusal) == ("", "Vertex: 404 no such model")
    ended = mill.folder().attempt(0, 1).ended.get().job
    assert (ended.state, ended.error_message) == ("JOB_STATE_FAILED", "Vertex: 404 no such model")
    assert create(mill, "you") == made
    assert mill.jobs.requests == []


def test_a_crash_between_creation_and_its_fact_costs_no_second_job(mill: Mill) -> None:
    create(mill, "me")
    mill.bucket.delete(FOLDER + "job.json")

    made = create(mill, "you")

    assert isinstance(made, Created)
    assert made.name
    assert len(mill.jobs.requests) == 1


def everybody(mill: Mill) -> list[object]:
    def one(number: int) -> object:
        try:
            return create(mill, f"owner-{number}")
        except Transient as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(16)))


def nothing(mill: Mill) -> None:
    pass


def expired(mill: Mill) -> None:
    mill.bucket.create(FOLDER + "intent.json", encode_fact(Intent("gone")))
    mill.clock.now += SETTLE + 1


def free(mill: Mill) -> None:
    mill.bucket.create(FOLDER + "intent.json", encode_fact(Intent("")))


def put_off(mill: Mill) -> None:
    mill.jobs.refuse_next(Transient("429"))


def unanswered(mill: Mill) -> None:
    mill.jobs.lose_next_response()


@pytest.mark.parametrize("before", [nothing, expired, free, put_off, unanswered])
def test_of_many_at_once_one_creates_and_all_come_to_the_same_job(
    before: Callable[[Mill], None],
) -> None:
    for _ in range(15):
        mill = Mill(clock=Clock())
        mill.send(["a"])
        mill.do(Step("plan", RUN))
        mill.do(Step("shard", RUN, (0, 1)))
        before(mill)

        everybody(mill)
        found = everybody(mill)

        assert len(mill.jobs.requests) == 1
        assert {made for made in found if isinstance(made, Created)} == {create(mill, "last")}


class Overtaken(MemoryBucket):
    """A bucket in which somebody else is always a moment faster to replace an object."""

    def replace(self, name: str, data: bytes, generation: int) -> None:
        super().replace(name, b'{"owner":"faster"}', generation)
        super().replace(name, data, generation)


class StandsStill(MemoryBucket):
    """A bucket whose caller stands still once, before its `call` on an object, while something else happens."""

    def __init__(self, mill: Mill, call: str, name: str, meanwhile: Callable[[], object]) -> None:
        super().__init__(clock=mill.clock)
        for stored in mill.bucket.list(""):
            super().write(stored.name, mill.bucket.read(stored.name))
        self._at, self._meanwhile = (call, name), [meanwhile]
        mill.bucket = self

    def find(self, name: str) -> ObjectInfo | None:
        self._stand_still("find", name)
        return super().find(name)

    def replace(self, name: str, data: bytes, generation: int) -> None:
        self._stand_still("replace", name)
        super().replace(name, data, generation)

    def _stand_still(self, *at: str) -> None:
        if at == self._at and self._meanwhile:
            self._meanwhile.pop()()


def test_an_owner_that_stood_still_and_was_overtaken_creates_nothing(mill: Mill) -> None:
    def overtake() -> None:
        mill.clock.now += SETTLE + 1
        mill.jobs.lose_next_response()
        create(mill, "you")

    StandsStill(mill, "find", CANCELLED, overtake)

    assert isinstance(create(mill, "me"), Wait)
    assert intent(mill) == "you"
    assert len(mill.jobs.requests) == 1


def test_who_stood_still_while_others_were_through_creates_nothing_though_their_job_is_listed_no_more(
    mill: Mill,
) -> None:
    def be_through() -> None:
        mill.clock.now += SETTLE + 1
        others = create(mill, "you")
        assert isinstance(others, Created)
        mill.jobs.forget_job(others.name)
        mill.clock.now += SETTLE + 1

    expired(mill)
    StandsStill(mill, "find", FOLDER + "intent.json", be_through)

    made = create(mill, "me")

    assert made == mill.folder().attempt(0, 1).job.get()
    assert len(mill.jobs.requests) == 1


@pytest.mark.parametrize("place", [CANCELLED, FOLDER + "clock"])
def test_an_owner_that_stood_still_for_long_begins_anew(
    mill: Mill, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def freeze() -> None:
        mill.clock.now += SETTLE / 2 + 1

    monkeypatch.setattr("time.monotonic", lambda: mill.clock.now)
    StandsStill(mill, "find", place, freeze)

    assert isinstance(create(mill, "me"), Wait)
    assert (intent(mill), mill.jobs.requests) == ("", [])
    assert isinstance(create(mill, "me again"), Created)


def test_an_intent_that_was_taken_over_is_not_given_back(mill: Mill) -> None:
    def overtake() -> None:
        mill.clock.now += SETTLE + 1
        mill.jobs.lose_next_response()
        create(mill, "you")

    mill.jobs.refuse_next(Transient("429"))
    StandsStill(mill, "replace", FOLDER + "intent.json", overtake)

    with pytest.raises(Transient, match="429"):
        create(mill, "me")
    assert intent(mill) == "you"


class Slow(FakeJobs):
    """Jobs of which the first creation takes so long that somebody else takes the intent over, and is then put off."""

    mill: Mill

    def create(self, request: JobRequest) -> Job:
        if self.mill.jobs is self:
            self.mill.jobs = FakeJobs(self.mill.bucket, clock=self.mill.clock)
            self.mill.jobs.lose_next_response()
            self.mill.clock.now += SETTLE + 1
            create(self.mill, "you")
            raise Transient("429")
        return super().create(request)


def test_an_intent_that_was_taken_over_while_the_creation_was_put_off_is_not_given_back(
    mill: Mill,
) -> None:
    slow = Slow(mill.bucket, clock=mill.clock)
    slow.mill, mill.jobs = mill, slow

    with pytest.raises(Transient, match="429"):
        create(mill, "me")

    assert intent(mill) == "you"
    assert isinstance(create(mill, "me again"), Created)
    assert (len(slow.requests), len(mill.jobs.requests)) == (0, 1)


class TurnsUp(FakeJobs):
    """Jobs that only the second look finds."""

    looks = 0

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        self.looks += 1
        return super().list(filter) if self.looks > len(["by labels", "by name"]) else iter(())


def test_who_loses_the_race_to_take_over_creates_nothing(mill: Mill) -> None:
    expired(mill)
    bucket = Overtaken(clock=mill.clock)
    for stored in mill.bucket.list(""):
        bucket.write(stored.name, mill.bucket.read(stored.name))
    mill.clock.now += SETTLE + 1

    made = submit(
        RunFolder(bucket, RUN).attempt(0, 1), mill.jobs, owner="slow", visibility_seconds=SETTLE
    )

    assert isinstance(made, Wait)
    assert mill.jobs.requests == []


def test_a_job_that_turns_up_at_the_last_moment_is_adopted_after_all(mill: Mill) -> None:
    mill.jobs = TurnsUp(mill.bucket, clock=mill.clock)
    mill.jobs.lose_next_response()
    create(mill, "me")
    mill.clock.now += SETTLE + 1

    assert create(mill, "you") == Wait(0.0)
    assert isinstance(create(mill, "you"), Created)
    assert len(mill.jobs.requests) == 1
