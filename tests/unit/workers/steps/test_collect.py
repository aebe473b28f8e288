"""The answers of a failed job are read before any row is sent again."""

import msgspec
import pytest

from promptmill.config import names
from promptmill.producers.requests.encode import join_wire_key
from promptmill.workers.facts.fact import encode_fact
from promptmill.workers.facts.records import Ended
from promptmill.workers.fakes.output import make_response
from promptmill.workers.ports.google import Job
from support.fake_pipeline import RUN, FakePipeline

OUTPUT = f"runs/{RUN}/shards/0000/1/output/prediction-model-1/"
FINAL, EARLY = "predictions_0001.jsonl", "incremental_predictions/predictions.jsonl"
EXPORT = (
    "Failed to export data. Error encountered during execution. Retrying may solve the problem."
)
ACCESS = "Service account a@b doesn't have sufficient permission to write gs://x/predictions.jsonl."


def answer(row: int) -> bytes:
    """Return a line of output that answers a row."""
    line = {
        "key": join_wire_key(names.tag(RUN), row, str(row)),
        "status": "",
        "request": {},
        "response": make_response("harvested"),
    }
    return msgspec.json.encode(line) + b"\n"


def run(files: dict[str, list[int]], max_attempts: int = 2, **ended: object) -> FakePipeline:
    """Run three rows; the first job counts as failed, and the files below its output have these rows."""
    pipeline = fail(files, max_attempts, **ended)
    pipeline.clock.now += 301.0
    pipeline.drive(RUN)
    return pipeline


def fail(files: dict[str, list[int]], max_attempts: int, **ended: object) -> FakePipeline:
    pipeline = FakePipeline(max_attempts=max_attempts)
    pipeline.send(["a", "b", "c"])
    while pipeline.due(RUN)[0].task != "poll":
        for step in pipeline.due(RUN):
            pipeline.do(step)
    for name, rows in files.items():
        pipeline.bucket.write(OUTPUT + name, b"".join(map(answer, rows)))
    job = Job("job", "JOB_STATE_FAILED", start_time=5.0, **ended)  # type: ignore[arg-type]
    end = pipeline.folder().attempt(0, 1).ended.name
    pipeline.bucket.write(end, encode_fact(Ended(job, pipeline.clock.now)))
    return pipeline


def sent_again(pipeline: FakePipeline) -> list[str]:
    """Return the prompts of the second job."""
    data = pipeline.bucket.read(pipeline.folder().attempt(0, 2).input_file)
    requests = [msgspec.json.decode(line)["request"] for line in data.splitlines()]
    return [request["contents"][0]["parts"][0]["text"] for request in requests]


@pytest.mark.parametrize("directory", ["", "gs://fake/mill/other", "gs://fake/mill/" + OUTPUT])
def test_only_rows_without_an_answer_are_sent_again_after_a_failed_export(directory: str) -> None:
    files = {FINAL: [1], EARLY: [1, 2]}

    pipeline = run(files, error_code=13, error_message=EXPORT, output_directory=directory)

    assert [result.text for result in pipeline.results(RUN)] == [
        "harvested", "harvested", "You said: c",
    ]  # fmt: skip
    assert sent_again(pipeline) == ["c"]
    assert pipeline.report(RUN).duplicates == 1


def test_late_output_of_a_failed_export_is_read_before_rows_are_sent_again() -> None:
    pipeline = fail({}, 2, error_code=13, error_message=EXPORT)
    (collect,) = pipeline.due(RUN)
    pipeline.do(collect)
    pipeline.clock.now += 290.0
    pipeline.do(collect)
    assert pipeline.due(RUN) == [collect]
    pipeline.bucket.write(OUTPUT + "predictions.jsonl", answer(1) + answer(3))

    pipeline.drive(RUN)

    assert sent_again(pipeline) == ["b"]


@pytest.mark.parametrize("code", [7, 9])
def test_a_job_without_access_to_its_bucket_is_harvested_and_never_paid_again(code: int) -> None:
    pipeline = run({EARLY: [2]}, error_code=code, error_message=ACCESS, successful_count=3)

    results = pipeline.results(RUN)
    assert [result.error and result.error.reason for result in results] == [
        "JOB_FAILED", None, "JOB_FAILED",
    ]  # fmt: skip
    assert "give the service account access to the bucket" in results[0].error.message  # type: ignore[union-attr]
    assert len(pipeline.jobs.requests) == 1


def test_a_dataset_that_is_missing_after_the_answers_uses_up_an_attempt() -> None:
    message = "Failed to export data. Not found: Dataset a-tp:llm_bp_tenant_dataset_1 was not found"

    pipeline = run({}, max_attempts=1, error_code=13, error_message=message)

    assert pipeline.report(RUN).failures == {"JOB_INTERRUPTED": 3}
    assert len(pipeline.jobs.requests) == 1
