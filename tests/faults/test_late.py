"""Users see a warning while a job or a submission takes too long."""

from collections.abc import Iterator

import pytest

from faults.worker_group import WorkerGroups
from promptmill.producers import Promptmill
from promptmill.producers.contract.connection import Connection
from promptmill.workers.coordination.alarm_counts import AlarmCounts
from support.waiting import wait_until

MODEL = "gemini-3-flash-preview"
SECONDS = {"PROMPTMILL_LATE_QUEUED_SECONDS": "2", "PROMPTMILL_LATE_OPEN_SECONDS": "2"}


def test_a_job_that_waits_for_too_long_is_told_of_until_it_runs(groups: WorkerGroups) -> None:
    with groups.create_group("late-job", SECONDS) as group:
        group.stack.fault("job", "queued", seconds=40, match={"model": f"*/{MODEL}"})
        group.work()
        run = group.submit(4, model=MODEL)
        (warning,) = wait_until(lambda: run.status.warnings, "a warning")
        described = group.read_cli("describe", run.id)
        listed = group.read_cli("list", "--format", "csv")
        group.wait(run)

        assert "has waited in Vertex's queue for more than 2.0 s" in warning
        assert warning in " ".join(described.split())
        assert run.id in listed
        told = alarms(group.client)
        assert told.keys() <= {"JOB_STATE_PENDING", "JOB_STATE_QUEUED"}
        assert set(told.values()) == {1}
        assert group.log().count("has waited in Vertex's queue") == len(told)
        assert run.status.warnings == []
        assert group.violations(run, 4) == []


def test_a_run_that_is_not_sent_in_full_is_told_of(groups: WorkerGroups) -> None:
    with groups.create_group("half", SECONDS) as group:
        group.work()
        with pytest.raises(ValueError, match="no more"):
            group.client.submit(half(), idempotency_key="half")
        run = wait_until(lambda: group.client.runs(1), "the run")[0]
        (warning,) = wait_until(lambda: run.status.warnings, "a warning")

        assert "not sent in full within 2.0 s" in warning
        assert "idempotency key" in warning
        assert alarms(group.client) == {"open": 1}


def half() -> Iterator[str]:
    """Yield half of the prompts, then fail."""
    for number in range(40):
        yield f"Say {number}: {'word ' * 500}"
    raise ValueError("no more")


def alarms(client: Promptmill) -> dict[str, int]:
    """Return how often each alarm was raised."""
    return AlarmCounts(Connection(client.settings.index_url)).load_counts()
