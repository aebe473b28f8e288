"""A run that is past its deadline ends with what Vertex has finished, whatever its other jobs do."""

from faults.mills import Mills
from promptmill.producers import Result

MODEL = "gemini-2.5-flash"


def test_a_run_past_its_deadline_ends_with_what_is_finished(mills: Mills) -> None:
    with mills.mill("deadline") as mill:
        mill.site.fault("job", "queued", match={"model": f"*/{MODEL}"})
        run = mill.submit(model=MODEL, deadline="8s")
        mill.work()
        mill.wait(run)

        assert mill.violations(run) == []
        assert (run.report().state, run.report().failures) == ("expired", {"DEADLINE_EXCEEDED": 5})
        assert run.report().error == "the run's deadline of 8.0 s passed"
        assert sum(map(is_late, run.results())) == 5
        assert {job["state"] for job in mill.site.jobs(run.id)} == {
            "JOB_STATE_SUCCEEDED",
            "JOB_STATE_CANCELLED",
        }
        told = mill.cli("wait", run.id)
        assert told.returncode == 6
        assert "The run expired with 10 of 10 done, 5 failed" in told.stderr


def is_late(result: Result) -> bool:
    return bool(result.error and result.error.message == "the run's deadline passed")
