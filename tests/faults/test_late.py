"""What takes too long is told of, where people look, for as long as it lasts."""

from collections.abc import Iterator

import pytest

from faults.mills import Mills
from promptmill.producers import Promptmill
from promptmill.producers.contract.connection import Connection
from promptmill.workers.coordination.alarm_counts import AlarmCounts
from support.waiting import wait_until

MODEL = "gemini-3-flash"
SECONDS = {"PROMPTMILL_LATE_QUEUED_SECONDS": "2", "PROMPTMILL_LATE_OPEN_SECONDS": "2"}


def test_a_job_that_waits_for_too_long_is_told_of_until_it_runs(mills: Mills) -> None:
    with mills.mill("late-job", SECONDS) as mill:
        mill.site.fault("job", "queued", seconds=12, match={"model": f"*/{MODEL}"})
        mill.work()
        run = mill.submit(4, model=MODEL)
        (warning,) = wait_until(lambda: run.status.warnings, "a warning")
        described = mill.cli("describe", run.id).stdout
        listed = mill.cli("list", "--format", "csv").stdout
        mill.wait(run)

        assert "has waited in Vertex's queue for more than 2.0 s" in warning
        assert warning in " ".join(described.split())
        assert run.id in listed
        told = alarms(mill.client)
        assert told.keys() <= {"JOB_STATE_PENDING", "JOB_STATE_QUEUED"}
        assert set(told.values()) == {1}
        assert mill.log().count("has waited in Vertex's queue") == len(told)
        assert run.status.warnings == []
        assert mill.violations(run, 4) == []


def test_a_run_that_is_not_sent_in_full_is_told_of(mills: Mills) -> None:
    with mills.mill("half", SECONDS) as mill:
        mill.work()
        with pytest.raises(ValueError, match="no more"):
            mill.client.submit(half(), idempotency_key="half")
        run = wait_until(lambda: mill.client.runs(1), "the run")[0]
        (warning,) = wait_until(lambda: run.status.warnings, "a warning")

        assert "not sent in full within 2.0 s" in warning
        assert "idempotency key" in warning
        assert alarms(mill.client) == {"open": 1}


def half() -> Iterator[str]:
    """Prompts of which the producer has only half."""
    for number in range(40):
        yield f"Say {number}: {'word ' * 500}"
    raise ValueError("no more")


def alarms(client: Promptmill) -> dict[str, int]:
    """How often people were told of what."""
    return AlarmCounts(Connection(client.settings.index_url)).load_counts()
