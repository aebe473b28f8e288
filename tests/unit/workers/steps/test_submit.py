"""One billed job for each attempt of a shard, whatever fails during its creation."""

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
from support.fake_pipeline import MODEL, RUN, SETTLE, Clock, FakePipeline

FOLDER = f"runs/{RUN}/shards/0000/1/"
CANCELLED = f"runs/{RUN}/cancelled.json"


@pytest.fixture
def pipeline() -> FakePipeline:
    """Return a pipeline with a run whose input is written."""
    pipeline = FakePipeline()
    pipeline.send(["a", "b"])
    pipeline.do(Step("plan", RUN))
    pipeline.do(Step("shard", RUN, (0, 1)))
    return pipeline


def create(pipeline: FakePipeline, owner: str) -> Created | Wait:
    return submit(
        pipeline.folder().attempt(0, 1), pipeline.jobs, owner=owner, visibility_seconds=SETTLE
    )


def intent(pipeline: FakePipeline) -> str:
    return pipeline.folder().attempt(0, 1).intent.get().owner


def test_a_job_is_created_with_labels_that_identify_it(pipeline: FakePipeline) -> None:
    made = create(pipeline, "me")

    (asked,) = pipeline.jobs.requests
    assert made == pipeline.folder().attempt(0, 1).job.get()
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


def test_a_repeated_submit_finds_the_existing_job(pipeline: FakePipeline) -> None:
    made = create(pipeline, "me")

    assert create(pipeline, "you") == made
    assert len(pipeline.jobs.requests) == 1


def test_a_job_whose_creation_got_no_response_is_adopted(pipeline: FakePipeline) -> None:
    pipeline.jobs.lose_next_response()
    assert isinstance(create(pipeline, "me"), Wait)

    made = create(pipeline, "me again")

    assert isinstance(made, Created)
    assert made.name
    assert len(pipeline.jobs.requests) == 1


def test_a_job_that_is_listed_late_is_adopted(pipeline: FakePipeline) -> None:
    pipeline.jobs.lose_next_response()
    pipeline.jobs.hide_new_jobs(SETTLE - 1)
    create(pipeline, "me")

    waited = 0.0
    while isinstance(made := create(pipeline, "again"), Wait):
        pipeline.clock.now += made.seconds
        waited += made.seconds

    assert made.name
    assert len(pipeline.jobs.requests) == 1
    assert SETTLE - 1 <= waited <= SETTLE + 62


def test_an_intent_is_taken_over_only_after_the_visibility_time(
    pipeline: FakePipeline,
) -> None:
    pipeline.bucket.create(FOLDER + "intent.json", encode_fact(Intent("gone")))

    pipeline.clock.now += SETTLE - 1
    assert isinstance(create(pipeline, "me"), Wait)
    assert pipeline.jobs.requests == []
    assert intent(pipeline) == "gone"

    pipeline.clock.now += 2
    assert isinstance(create(pipeline, "me"), Created)
    assert len(pipeline.jobs.requests) == 1
    assert intent(pipeline) == "me"


def test_the_age_of_an_intent_is_by_the_buckets_clock(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.bucket.create(FOLDER + "intent.json", encode_fact(Intent("gone")))
    monkeypatch.setattr("time.time", lambda: pipeline.clock.now + 1e6)
    monkeypatch.setattr("time.monotonic", lambda: 1e6)

    assert isinstance(create(pipeline, "me"), Wait)
    assert pipeline.jobs.requests == []


def test_a_transient_error_releases_the_intent_at_once(pipeline: FakePipeline) -> None:
    pipeline.jobs.refuse_next(Transient("429"))

    with pytest.raises(Transient, match="429"):
        create(pipeline, "me")

    assert intent(pipeline) == ""
    assert isinstance(create(pipeline, "you"), Created)
    assert len(pipeline.jobs.requests) == 1


def test_a_refused_creation_ends_the_attempt_without_a_job(pipeline: FakePipeline) -> None:
    pipeline.jobs.refuse_next(Permanent("Vertex: 404 no such model"))

    made = create(pipeline, "me")

    assert isinstance(made, Created)
    assert (made.name, made.refusal) == ("", "Vertex: 404 no such model")
    ended = pipeline.folder().attempt(0, 1).ended.get().job
    assert (ended.state, ended.error_message) == ("JOB_STATE_FAILED", "Vertex: 404 no such model")
    assert create(pipeline, "you") == made
    assert pipeline.jobs.requests == []


def test_a_crash_after_creation_costs_no_second_job(pipeline: FakePipeline) -> None:
    create(pipeline, "me")
    pipeline.bucket.delete(FOLDER + "job.json")

    made = create(pipeline, "you")

    assert isinstance(made, Created)
    assert made.name
    assert len(pipeline.jobs.requests) == 1


def everybody(pipeline: FakePipeline) -> list[object]:
    def one(number: int) -> object:
        try:
            return create(pipeline, f"owner-{number}")
        except Transient as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(16)))


def nothing(pipeline: FakePipeline) -> None:
    pass


def expired(pipeline: FakePipeline) -> None:
    pipeline.bucket.create(FOLDER + "intent.json", encode_fact(Intent("gone")))
    pipeline.clock.now += SETTLE + 1


def free(pipeline: FakePipeline) -> None:
    pipeline.bucket.create(FOLDER + "intent.json", encode_fact(Intent("")))


def put_off(pipeline: FakePipeline) -> None:
    pipeline.jobs.refuse_next(Transient("429"))


def unanswered(pipeline: FakePipeline) -> None:
    pipeline.jobs.lose_next_response()


@pytest.mark.parametrize("before", [nothing, expired, free, put_off, unanswered])
def test_of_concurrent_workers_one_creates_the_job(
    before: Callable[[FakePipeline], None],
) -> None:
    for _ in range(15):
        pipeline = FakePipeline(clock=Clock())
        pipeline.send(["a"])
        pipeline.do(Step("plan", RUN))
        pipeline.do(Step("shard", RUN, (0, 1)))
        before(pipeline)

        everybody(pipeline)
        found = everybody(pipeline)

        assert len(pipeline.jobs.requests) == 1
        assert {made for made in found if isinstance(made, Created)} == {create(pipeline, "last")}


class Overtaken(MemoryBucket):
    """A bucket in which another worker is always first to replace an object."""

    def replace(self, name: str, data: bytes, generation: int) -> None:
        super().replace(name, b'{"owner":"faster"}', generation)
        super().replace(name, data, generation)


class SuspendedCaller(MemoryBucket):
    """Suspends the caller once, before a `call` on an object, and runs `meanwhile`."""

    def __init__(
        self, pipeline: FakePipeline, call: str, name: str, meanwhile: Callable[[], object]
    ) -> None:
        super().__init__(clock=pipeline.clock)
        for stored in pipeline.bucket.list(""):
            super().write(stored.name, pipeline.bucket.read(stored.name))
        self._at, self._meanwhile = (call, name), [meanwhile]
        pipeline.bucket = self

    def find(self, name: str) -> ObjectInfo | None:
        self._suspend_once("find", name)
        return super().find(name)

    def replace(self, name: str, data: bytes, generation: int) -> None:
        self._suspend_once("replace", name)
        super().replace(name, data, generation)

    def _suspend_once(self, *at: str) -> None:
        if at == self._at and self._meanwhile:
            self._meanwhile.pop()()


def test_a_suspended_owner_that_lost_its_intent_creates_nothing(
    pipeline: FakePipeline,
) -> None:
    def overtake() -> None:
        pipeline.clock.now += SETTLE + 1
        pipeline.jobs.lose_next_response()
        create(pipeline, "you")

    SuspendedCaller(pipeline, "find", CANCELLED, overtake)

    assert isinstance(create(pipeline, "me"), Wait)
    assert intent(pipeline) == "you"
    assert len(pipeline.jobs.requests) == 1


def test_a_suspended_worker_creates_nothing_after_the_job_ended(
    pipeline: FakePipeline,
) -> None:
    def be_through() -> None:
        pipeline.clock.now += SETTLE + 1
        others = create(pipeline, "you")
        assert isinstance(others, Created)
        pipeline.jobs.forget_job(others.name)
        pipeline.clock.now += SETTLE + 1

    expired(pipeline)
    SuspendedCaller(pipeline, "find", FOLDER + "intent.json", be_through)

    made = create(pipeline, "me")

    assert made == pipeline.folder().attempt(0, 1).job.get()
    assert len(pipeline.jobs.requests) == 1


@pytest.mark.parametrize("name", [CANCELLED, FOLDER + "clock"])
def test_an_owner_suspended_for_long_starts_again(
    pipeline: FakePipeline, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def freeze() -> None:
        pipeline.clock.now += SETTLE / 2 + 1

    monkeypatch.setattr("time.monotonic", lambda: pipeline.clock.now)
    SuspendedCaller(pipeline, "find", name, freeze)

    assert isinstance(create(pipeline, "me"), Wait)
    assert (intent(pipeline), pipeline.jobs.requests) == ("", [])
    assert isinstance(create(pipeline, "me again"), Created)


def test_an_intent_of_another_worker_is_not_released(pipeline: FakePipeline) -> None:
    def overtake() -> None:
        pipeline.clock.now += SETTLE + 1
        pipeline.jobs.lose_next_response()
        create(pipeline, "you")

    pipeline.jobs.refuse_next(Transient("429"))
    SuspendedCaller(pipeline, "replace", FOLDER + "intent.json", overtake)

    with pytest.raises(Transient, match="429"):
        create(pipeline, "me")
    assert intent(pipeline) == "you"


class Slow(FakeJobs):
    """The first creation takes so long that it loses its intent; then it fails with 429."""

    pipeline: FakePipeline

    def create(self, request: JobRequest) -> Job:
        if self.pipeline.jobs is self:
            self.pipeline.jobs = FakeJobs(self.pipeline.bucket, clock=self.pipeline.clock)
            self.pipeline.jobs.lose_next_response()
            self.pipeline.clock.now += SETTLE + 1
            create(self.pipeline, "you")
            raise Transient("429")
        return super().create(request)


def test_an_intent_lost_during_a_transient_error_is_not_released(
    pipeline: FakePipeline,
) -> None:
    slow = Slow(pipeline.bucket, clock=pipeline.clock)
    slow.pipeline, pipeline.jobs = pipeline, slow

    with pytest.raises(Transient, match="429"):
        create(pipeline, "me")

    assert intent(pipeline) == "you"
    assert isinstance(create(pipeline, "me again"), Created)
    assert (len(slow.requests), len(pipeline.jobs.requests)) == (0, 1)


class ListedLate(FakeJobs):
    """Jobs that only the second search lists."""

    searches = 0

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        self.searches += 1
        return super().list(filter) if self.searches > len(["by labels", "by name"]) else iter(())


def test_the_loser_of_a_takeover_creates_nothing(pipeline: FakePipeline) -> None:
    expired(pipeline)
    bucket = Overtaken(clock=pipeline.clock)
    for stored in pipeline.bucket.list(""):
        bucket.write(stored.name, pipeline.bucket.read(stored.name))
    pipeline.clock.now += SETTLE + 1

    made = submit(
        RunFolder(bucket, RUN).attempt(0, 1), pipeline.jobs, owner="slow", visibility_seconds=SETTLE
    )

    assert isinstance(made, Wait)
    assert pipeline.jobs.requests == []


def test_a_job_listed_at_the_last_moment_is_adopted(
    pipeline: FakePipeline,
) -> None:
    pipeline.jobs = ListedLate(pipeline.bucket, clock=pipeline.clock)
    pipeline.jobs.lose_next_response()
    create(pipeline, "me")
    pipeline.clock.now += SETTLE + 1

    assert create(pipeline, "you") == Wait(0.0)
    assert isinstance(create(pipeline, "you"), Created)
    assert len(pipeline.jobs.requests) == 1
