"""The cleanup of a live check touches nothing that the check did not create."""

from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import NotFound
from promptmill.config.json_types import JsonObject
from promptmill.workers.fakes import MemoryBucket
from promptmill.workers.live import rows
from promptmill.workers.live.cleanup import Cleanup
from promptmill.workers.live.evidence import Evidence, plan_evidence
from promptmill.workers.live.live_jobs import LiveTimes
from promptmill.workers.ports.google import Job, JobRequest

TIMES = LiveTimes(poll=0.0, longest_poll=0.0, visibility=0.0, total=0.0, deletion=0.0, outage=0.0)


class CarelessJobs:
    """Jobs whose list ignores every filter. A cancelled job ends at once."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.cancelled: list[str] = []

    def create(self, request: JobRequest) -> tuple[Job, JsonObject]:
        raise NotImplementedError

    def get(self, name: str) -> tuple[Job, JsonObject]:
        if name not in self.jobs:
            raise NotFound(name)
        return self.jobs[name], {}

    def list(self, filter: str) -> list[Job]:  # noqa: A002 (the port's name)
        return list(self.jobs.values())

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)
        self.jobs[name] = Job(name, "JOB_STATE_CANCELLED")

    def delete(self, name: str) -> None:
        assert self.jobs[name].has_ended
        del self.jobs[name]


def plan_check() -> Evidence:
    """Return the evidence of a check whose first creation was not answered."""
    evidence = plan_evidence("gemini-3.5-flash-lite", "global", rows.build_lines())
    evidence.main.output_uri = "gs://b/output"
    return evidence


LABELS = st.dictionaries(
    st.sampled_from(["promptmill", "run", "shard", "attempt"]),
    st.sampled_from(["live-0", "0", "1"]),
)
FOREIGN = st.lists(
    st.builds(Job, name=st.uuids().map(str), state=st.just("JOB_STATE_RUNNING"), labels=LABELS)
)


@given(before=FOREIGN, after=FOREIGN)
def test_only_the_job_of_the_check_is_cancelled_and_deleted(
    before: list[Job], after: list[Job]
) -> None:
    evidence = plan_check()
    own = Job("own", "JOB_STATE_RUNNING", evidence.main.display_name, evidence.main.labels)
    jobs = CarelessJobs([*before, own, *after])

    left = Cleanup(MemoryBucket(), jobs, evidence, TIMES).remove_all()

    assert left == []
    assert jobs.cancelled == ["own"]
    assert list(jobs.jobs.values()) == [*before, *after]
    assert evidence.main.is_deleted


def test_only_objects_of_the_check_are_deleted() -> None:
    bucket, evidence = MemoryBucket(), plan_check()
    kept = [f"doctor/{'0' * 12}/main.jsonl", "runs/r/run.json", evidence.folder.rstrip("/") + "x"]
    for name in (*kept, f"{evidence.folder}main.jsonl", f"{evidence.folder}main-output/a/b"):
        bucket.write(name, b"1")

    Cleanup(bucket, CarelessJobs([]), evidence, TIMES).remove_all()

    assert sorted(found.name for found in bucket.list("")) == sorted(kept)


def test_a_job_that_may_appear_later_is_named() -> None:
    evidence = plan_check()

    left = Cleanup(MemoryBucket(), CarelessJobs([]), evidence, TIMES).remove_all()

    assert left == [
        f"perhaps a job with the display name {evidence.main.display_name}: "
        "its creation was interrupted, and it is not listed yet"
    ]


def test_a_job_that_does_not_end_is_named() -> None:
    evidence = plan_check()
    evidence.main.name = "own"

    class StubbornJobs(CarelessJobs):
        def cancel(self, name: str) -> None:
            self.cancelled.append(name)

    jobs = StubbornJobs([Job("own", "JOB_STATE_CANCELLING")])
    times = TIMES._replace(cleanup=0.0)

    assert Cleanup(MemoryBucket(), jobs, evidence, times).remove_all() == [
        "job own: it was cancelled, but has not ended yet"
    ]
