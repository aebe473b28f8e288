"""A run ends at its deadline with the answers of the jobs that have ended."""

from faults.worker_group import WorkerGroups
from promptmill.producers import Result

MODEL = "gemini-3.6-flash"


def test_a_run_past_its_deadline_ends_with_what_is_finished(groups: WorkerGroups) -> None:
    with groups.create_group("deadline") as group:
        group.stack.fault("job", "queued", match={"model": f"*/{MODEL}"})
        run = group.submit(model=MODEL, deadline="8s")
        group.work()
        group.wait(run)

        assert group.violations(run) == []
        assert (run.report().state, run.report().failures) == ("expired", {"DEADLINE_EXCEEDED": 5})
        assert run.report().error == "the run's deadline of 8.0 s passed"
        assert sum(map(is_late, run.results())) == 5
        assert {job["state"] for job in group.stack.jobs(run.id)} == {
            "JOB_STATE_SUCCEEDED",
            "JOB_STATE_CANCELLED",
        }
        waited = group.cli("wait", run.id)
        assert waited.returncode == 6
        assert "The run expired with 10 of 10 done, 5 failed" in waited.stderr


def is_late(result: Result) -> bool:
    return bool(result.error and result.error.message == "the run's deadline passed")
