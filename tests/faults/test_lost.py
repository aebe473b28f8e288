"""A job that Vertex no longer knows keeps its run open until an operator decides."""

from collections.abc import Iterator
from typing import Any

import pytest

from faults.worker_group import WorkerGroup, WorkerGroups
from promptmill.producers import Run
from promptmill.workers.ports.google import TERMINAL_STATES
from support.local_stack import LocalStack
from support.proxy import HttpProxy
from support.waiting import wait_until

MODEL = "gemini-3.1-flash-lite"
SECONDS = {"PROMPTMILL_LOST_SECONDS": "2"}


@pytest.fixture
def vertex(servers: LocalStack) -> Iterator[HttpProxy]:
    """A proxy before Vertex, used by the workers."""
    with HttpProxy(servers.emulator) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("word", "state", "jobs"), [("--end", "failed", 1), ("--retry", "succeeded", 2)]
)
def test_a_lost_job_is_reported_and_waits_for_an_operator(
    groups: WorkerGroups, vertex: HttpProxy, word: str, state: str, jobs: int
) -> None:
    with groups.create_group(
        f"lost{word}", {"PROMPTMILL_VERTEX_ENDPOINT": vertex.url} | SECONDS
    ) as group:
        run, job = lose(group, vertex)
        (warning,) = wait_until(lambda: run.status.warnings, "a warning")
        listed = group.read_cli("lost-jobs", "--format", "csv")
        found = group.read_cli("reconcile", "--dry-run")

        assert "see promptmill lost-jobs" in warning
        assert f"{run.id}/0/1,{job['name']}," in listed
        assert "no longer has job" in found
        assert not run.status.done
        assert len(group.stack.jobs(run.id)) == 1

        assert group.cli("lost-jobs", word, f"{run.id}/0/1").returncode == 0
        group.wait(run)

        assert group.violations(run, 4) == []
        assert (run.report().state, run.report().jobs) == (state, jobs)
        assert run.report().failures == ({} if word == "--retry" else {"JOB_LOST": 4})
        assert run.status.warnings == []
        assert group.read_cli("lost-jobs", "--format", "csv") == ""


def lose(group: WorkerGroup, vertex: HttpProxy) -> tuple[Run, dict[str, Any]]:
    """Submit a run whose job never starts and is unknown to Vertex; return run and job."""
    match = {"model": f"*/{MODEL}"}
    group.stack.fault("job", "queued", match=match)
    group.stack.fault("list", "stale-list", seconds=3600, match=match)
    run = group.submit(4, model=MODEL)
    group.work()
    (job,) = wait_until(lambda: group.stack.jobs(run.id), "the job")
    assert job["state"] not in TERMINAL_STATES
    vertex.fail("GET", f".*/{job['name']}.*", status=404, times=float("inf"))
    return run, job
