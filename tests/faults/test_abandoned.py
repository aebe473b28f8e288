"""A job that ignores its cancellation is abandoned, and its late answers are kept."""

from collections.abc import Iterator

import pytest

from faults.worker_group import WorkerGroup, WorkerGroups
from promptmill.producers import Run
from support.local_stack import LocalStack
from support.proxy import HttpProxy
from support.waiting import wait_until

MODEL = "gemini-4-argon"
SECONDS = {"PROMPTMILL_ABANDON_SECONDS": "2"}


@pytest.fixture
def vertex(servers: LocalStack) -> Iterator[HttpProxy]:
    """A proxy before Vertex that drops cancellations."""
    with HttpProxy(servers.emulator) as proxy:
        proxy.fail("POST", r".*:cancel.*", status=200, times=float("inf"))
        yield proxy


def test_a_job_that_does_not_stop_is_abandoned_and_its_late_answers_are_kept(
    groups: WorkerGroups, vertex: HttpProxy
) -> None:
    with groups.create_group(
        "given-up", {"PROMPTMILL_VERTEX_ENDPOINT": vertex.url} | SECONDS
    ) as group:
        match = {"model": f"*/{MODEL}"}
        group.stack.fault("job", "queued", seconds=15, match=match)
        group.stack.fault(
            "output", "late", seconds=0.5, match=match
        )  # the emulator writes ahead of a job's end
        run = group.submit(4, model=MODEL)
        group.work()
        wait_until(lambda: group.stack.jobs(run.id), "the job")
        run.cancel()
        group.wait(run)

        report = run.report()
        assert (report.state, report.failures) == ("cancelled", {"JOB_CANCELLED": 4})
        assert (
            f"abandoned jobs: 1; their late answers will be stored in {report.results}late/"
            in report.error
        )
        assert group.stack.jobs(run.id)[0]["state"] == "JOB_STATE_QUEUED"
        assert list(run.results(late=True)) == []

        wait_until(lambda: answers_came(group, run), "late answers")

        assert sorted(result.key for result in run.results(late=True) if result.succeeded) == [
            "1",
            "2",
            "3",
            "4",
        ]
        assert group.read_cli("results", run.id, "--late").count("\n") == 4
        assert f"4 answers: promptmill results {run.id} --late" in group.read_cli(
            "describe", run.id
        )
        assert run.report() == report
        assert run.status.state == "cancelled"
        assert group.violations(run, 4) == []
        assert group.ended(run)


def answers_came(group: WorkerGroup, run: Run) -> bool:
    """Sweep for orphaned jobs, and return whether the late answers are kept."""
    assert group.cli("reconcile").returncode == 0
    return run.status.late == 4
