"""The progress of a run is restored from its facts when Redis has lost it."""

import pytest

from promptmill.producers.contract.status import ShardStatus
from promptmill.workers.coordination import progress
from promptmill.workers.facts import snapshot
from promptmill.workers.fakes import Script
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker


def written_anew(worker: FakeWorker) -> list[ShardStatus]:
    progress.restore_run(
        worker.services.index,
        worker.pipeline.bucket,
        snapshot.load_snapshot(worker.pipeline.bucket, RUN),
    )
    return worker.status.shards


@pytest.mark.parametrize(
    ("task", "state", "job_state"),
    [
        ("plan", "planned", ""),
        ("shard", "sharded", ""),
        ("submit", "submitted", "JOB_STATE_PENDING"),
        ("poll", "ended", "JOB_STATE_SUCCEEDED"),
        ("settle", "settled", "JOB_STATE_SUCCEEDED"),
    ],
)
def test_a_restored_shard_has_the_state_of_its_facts(task: str, state: str, job_state: str) -> None:
    worker = FakeWorker(FakePipeline(max_requests=2))
    run = worker.pipeline.send(["a", "b", "c"])
    done = ""
    while done != task:
        due = worker.pipeline.due(run)
        done = due[0].task
        for step in due:
            worker.pipeline.do(step)

    shards = written_anew(worker)

    jobs = sorted(job.name for job in worker.pipeline.jobs.list("")) if job_state else ["", ""]
    settled = state == "settled"
    assert shards == [
        ShardStatus(0, state, requests=2, succeeded=2 * settled, job=jobs[0], job_state=job_state),
        ShardStatus(1, state, requests=1, succeeded=1 * settled, job=jobs[1], job_state=job_state),
    ]


def test_restored_attempts_have_their_own_requests_job_and_counts() -> None:
    worker = FakeWorker(
        FakePipeline(max_requests=2, max_attempts=2, script=Script(missing=frozenset({1})))
    )
    worker.pipeline.drive(worker.pipeline.send(["a", "b", "c"]))

    shards = written_anew(worker)

    assert [(one.shard, one.attempt, one.requests, one.succeeded, one.state) for one in shards] == [
        (0, 1, 2, 1, "settled"),
        (0, 2, 1, 1, "settled"),
        (1, 1, 1, 1, "settled"),
    ]
    assert len({one.job for one in shards}) == 3
