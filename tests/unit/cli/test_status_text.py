import msgspec
import pytest

from promptmill.cli import status_text
from promptmill.producers.contract.status import END_STATES, OPEN_STATES, RunStatus, ShardStatus

RUN = RunStatus("01kq", "open", requests=1500, created=1000.0)
JOB = ShardStatus(0, "submitted", 1500, job="projects/p/locations/l/batchPredictionJobs/1")


def at(state: str, **fields: object) -> str:
    return status_text.describe_status(
        msgspec.structs.replace(RUN, state=state, **fields), now=1012.0
    )


@pytest.mark.parametrize("state", [*OPEN_STATES, *END_STATES])
def test_every_state_has_a_sentence(state: str) -> None:
    sentence = at(state)

    assert sentence.endswith(".")
    assert sentence[0].isupper() or sentence[0].isdigit()


def test_a_run_that_goes_on_says_since_when() -> None:
    assert at("running", shards=[JOB]) == (
        "Vertex AI is running 1 job: 0 of 1,500 done, 1 job, 12 s after the start of the run."
    )


def test_a_run_that_is_still_sent_says_so() -> None:
    assert at("open", requests=0).startswith("Requests are still being sent")
    assert at("open").startswith("All 1,500 requests are sent")


def test_a_run_that_succeeded_says_how_long_it_took() -> None:
    assert at("succeeded", ended=1027.5) == "All 1,500 requests succeeded in 28 s."
    assert at("succeeded", requests=1, ended=1027.5) == "The request succeeded in 28 s."


def test_a_run_that_partly_succeeded_has_both_counts() -> None:
    sentence = at("partially_succeeded", ended=1300.0, succeeded=1490, failed=10)

    assert sentence == "1,490 of 1,500 requests succeeded and 10 failed in 5 min 00 s."


def test_a_run_that_failed_says_why() -> None:
    assert at("failed", error="the bucket is gone.") == (
        "The run failed: 0 of 1,500 requests succeeded. The bucket is gone."
    )
    assert at("failed", error="gs://x/ is gone").endswith("succeeded. gs://x/ is gone.")


def test_one_of_a_thing_is_singular() -> None:
    assert status_text.format_count(1, "job") == "1 job"
    assert status_text.format_count(2000, "job") == "2,000 jobs"
