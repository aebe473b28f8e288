"""Polls of all open jobs, and the interval between them."""

from collections.abc import Container

from hypothesis import given
from hypothesis import strategies as st

from promptmill.config import names
from promptmill.config.errors import Transient
from promptmill.workers.fakes import FakeJobs, MemoryBucket, Script
from promptmill.workers.ports.google import Job, JobRequest
from promptmill.workers.steps.poll import PollResult, check_jobs, next_interval
from support.fake_pipeline import MODEL, Clock

MILL = names.deployment_id("gs://fake/mill")


def jobs(clock: Clock, **script: str) -> FakeJobs:
    return FakeJobs(MemoryBucket(clock=clock), duration=100.0, clock=clock, script=Script(**script))  # type: ignore[arg-type]


def add(made: FakeJobs, mill: str = MILL) -> str:
    return made.create(
        JobRequest("d", MODEL, "gs://fake/mill/in", "gs://fake/mill/out", {"promptmill": mill})
    ).name


def test_a_poll_separates_ended_waiting_and_lost_jobs() -> None:
    clock = Clock()
    made = jobs(clock, state="JOB_STATE_FAILED")
    old = add(made)
    clock.now += 60
    young = add(made)
    clock.now += 60

    seen = check_jobs(made, MILL, [old, young, "projects/p/locations/l/batchPredictionJobs/0"])

    assert [job.name for job in seen.ended] == [old]
    assert [job.name for job in seen.waiting] == [young]
    assert seen.lost == ["projects/p/locations/l/batchPredictionJobs/0"]


def test_a_poll_ignores_jobs_that_are_not_open() -> None:
    made = jobs(Clock())
    add(made)

    assert check_jobs(made, MILL, []) == PollResult([], [], [], {})


class Troubled(FakeJobs):
    """Fails to fetch some of its jobs, and counts the calls."""

    troubled: Container[str] = ()
    asked = 0

    def get(self, name: str) -> Job:
        self.asked += 1
        if name in self.troubled:
            raise Transient("Vertex: 503")
        return super().get(name)


def test_a_job_that_cannot_be_fetched_does_not_delay_others() -> None:
    clock = Clock()
    made = Troubled(MemoryBucket(clock=clock), duration=100.0, clock=clock)
    first, *others = sorted(add(made) for _ in range(5))
    clock.now += 200
    made.troubled = {first}

    seen = check_jobs(made, MILL, [first, *others])

    assert [job.name for job in seen.ended] == others
    assert seen.errors == {first: "Vertex: 503"}


def test_a_poll_stops_after_several_failed_calls() -> None:
    clock = Clock()
    made = Troubled(MemoryBucket(clock=clock), duration=100.0, clock=clock)
    first, *others = sorted(add(made) for _ in range(9))
    clock.now += 200
    made.troubled = others

    seen = check_jobs(made, MILL, [first, *others])

    assert [job.name for job in seen.ended] == [first]
    assert made.asked == 4


def test_a_job_with_foreign_labels_is_fetched_by_name() -> None:
    made = jobs(Clock())
    name = add(made, "other")

    assert [job.name for job in check_jobs(made, MILL, [name]).waiting] == [name]


def test_a_job_in_an_unknown_state_has_not_ended() -> None:
    assert not Job("j", "JOB_STATE_99").has_ended
    assert not Job("j", "JOB_STATE_UNSPECIFIED").has_ended
    assert Job("j", "JOB_STATE_EXPIRED").has_ended
    assert Job("j", "JOB_STATE_PARTIALLY_SUCCEEDED").has_ended


AGES = st.lists(st.floats(-100, 1e6), max_size=5)


@given(AGES, st.floats(0.1, 60), st.floats(0.1, 60))
def test_poll_intervals_stay_within_their_limits(
    ages: list[float], one: float, other: float
) -> None:
    shortest, longest = sorted((one, other))

    seconds = next_interval(
        [Job("j", "s", create_time=1e9 - age) for age in ages], 1e9, shortest, longest
    )

    assert shortest <= seconds <= longest


def test_poll_intervals_grow_with_the_age_of_the_youngest_job() -> None:
    def after(age: float) -> float:
        return next_interval(
            [Job("a", "s", create_time=1e9 - age), Job("b", "s", create_time=0.0)], 1e9, 3, 60
        )

    assert [after(age) for age in (0, 100, 500, 1000, 86_400)] == [3, 3, 10, 20, 60]
