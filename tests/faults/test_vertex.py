"""Vertex fails polls, lists a job late or refuses it. Each shard has one paid job."""

from collections.abc import Iterator

import pytest

from faults.worker_group import WorkerGroups
from promptmill.config.settings import load_settings
from promptmill.workers.cli_support.reconcile import reconcile_runs
from support.local_stack import LocalStack, surroundings
from support.proxy import HttpProxy
from support.waiting import wait_until

CREATIONS = r".*/batchPredictionJobs\?.*"
LOOKS = r".*/batchPredictionJobs\?.*"


@pytest.fixture
def vertex(servers: LocalStack) -> Iterator[HttpProxy]:
    """A proxy before Vertex, used by the workers."""
    with HttpProxy(servers.emulator) as proxy:
        yield proxy


@pytest.mark.parametrize("status", [500, 404, 429])
def test_polls_that_fail_for_a_while_are_repeated_and_no_job_is_abandoned(
    groups: WorkerGroups, vertex: HttpProxy, status: int
) -> None:
    with groups.create_group(
        f"looks-{status}", {"PROMPTMILL_VERTEX_ENDPOINT": vertex.url}
    ) as group:
        group.work()
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        vertex.fail("GET", LOOKS, status=status, times=8)
        group.wait(run)

        assert group.violations(run) == []
        assert len([call for call in vertex.calls if call.fault]) == 8


def test_a_forbidden_creation_ends_the_run_at_once_with_the_message_of_the_service(
    groups: WorkerGroups, vertex: HttpProxy
) -> None:
    with groups.create_group("forbidden", {"PROMPTMILL_VERTEX_ENDPOINT": vertex.url}) as group:
        vertex.fail("POST", CREATIONS, status=403, times=float("inf"))
        group.work()
        run = group.submit()
        group.wait(run)

        assert (run.report().state, run.report().failed, run.report().jobs) == ("failed", 10, 0)
        assert "403" in run.report().error
        assert len([call for call in vertex.calls if call.fault]) == 2, "one try for each shard"
        assert group.violations(run) == []


def test_a_postponed_creation_does_not_count_as_an_attempt(
    groups: WorkerGroups, vertex: HttpProxy
) -> None:
    with groups.create_group("put-off", {"PROMPTMILL_VERTEX_ENDPOINT": vertex.url}) as group:
        vertex.fail("POST", CREATIONS, status=429, times=6)
        group.work()
        run = group.submit(max_attempts=1)
        group.wait(run)

        assert len([call for call in vertex.calls if call.fault]) == 6
        assert group.violations(run) == []
        assert run.report().state == "succeeded"


@pytest.mark.slow
def test_a_job_listed_long_after_its_lost_response_is_cancelled_and_reported(
    groups: WorkerGroups, vertex: HttpProxy
) -> None:
    """The one case with a second paid job: Vertex lists the first later than the settings allow."""
    settings = {"PROMPTMILL_VERTEX_ENDPOINT": vertex.url, "PROMPTMILL_MAX_REQUESTS_PER_JOB": "200"}
    with groups.create_group("turns-up", settings) as group:
        model = "gemini-3.7-flash"
        match = {"model": f"*/{model}"}
        group.stack.fault("job", "queued", seconds=40, times=2, match=match)
        group.stack.fault("create", "after", match=match)
        group.stack.fault("list", "stale-list", seconds=12)
        group.work()
        run = group.submit(model=model)
        wait_until(lambda: len(group.stack.jobs(run.id)) == 2, "the second job")

        with surroundings(group.environment):
            told = wait_until(
                lambda: [
                    found.message
                    for found in reconcile_runs(load_settings())
                    if "duplicate" in found.message
                ],
                "it",
            )

        assert len(told) == 1
        wait_until(
            lambda: "JOB_STATE_CANCELLED" in {job["state"] for job in group.stack.jobs(run.id)},
            "its end",
        )
