"""What every service of batch jobs promises: the one in memory, and Vertex's client before the emulator."""

import uuid
from typing import Any

import msgspec
import pytest

from promptmill.config import names
from promptmill.config.errors import NotFound, Permanent
from promptmill.workers.facts.records import PartRange
from promptmill.workers.output.line_ranges import read_lines
from promptmill.workers.ports.google import BatchJobs, Bucket, Job, JobRequest
from promptmill.workers.steps.poll import active_filter
from support.waiting import wait_until

MODEL = "publishers/google/models/gemini-3.8-flash"


def request(bucket: Bucket, *, model: str = MODEL, **labels: str) -> JobRequest:
    run = uuid.uuid4().hex[:20]
    return JobRequest(
        display_name=f"promptmill-{run}-s0000-a1",
        model=model,
        input_uri=f"{bucket.url}/{run}/input.jsonl",
        output_uri=f"{bucket.url}/{run}/output",
        labels={
            "promptmill": names.deployment_id(bucket.url),
            "run": run,
            "shard": "0",
            "attempt": "1",
            **labels,
        },
    )


def write_input(bucket: Bucket, asked: JobRequest, rows: list[dict[str, Any]]) -> None:
    name = asked.input_uri.removeprefix(bucket.url + "/")
    bucket.write(name, b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def row(text: str, **beside: Any) -> dict[str, Any]:
    return {"request": {"contents": [{"role": "user", "parts": [{"text": text}]}]}, **beside}


def ended(jobs: BatchJobs, name: str) -> Job:
    def look() -> Job | None:
        job = jobs.get(name)
        return job if job.has_ended else None

    job = wait_until(look, f"the end of {name}")
    assert job is not None
    return job


def output(bucket: Bucket, job: Job) -> list[dict[str, Any]]:
    folder = job.output_directory.removeprefix(bucket.url + "/")
    files = [stored for stored in bucket.list(folder + "/") if stored.name.endswith(".jsonl")]
    ranges = [PartRange(stored.name, stored.generation, 0, stored.size) for stored in files]
    return [msgspec.json.decode(line) for one in ranges for _, line in read_lines(bucket, one)]


def test_a_new_job_has_a_name_of_its_own_and_what_it_was_created_with(
    bucket: Bucket, jobs: BatchJobs
) -> None:
    asked = request(bucket)
    first, second = jobs.create(asked), jobs.create(asked)

    assert first.name != second.name
    assert "/batchPredictionJobs/" in first.name
    assert (first.display_name, first.labels) == (asked.display_name, asked.labels)
    assert not first.has_ended
    assert first.create_time > 0
    assert first.end_time == 0


def test_a_job_answers_every_row_and_gives_back_what_lies_beside_the_request(
    bucket: Bucket, jobs: BatchJobs
) -> None:
    asked = request(bucket)
    write_input(
        bucket, asked, [row(f"text {n}", key=f"r-{n}-k", metadata='{"shop":7}') for n in range(5)]
    )

    job = ended(jobs, jobs.create(asked).name)

    assert job.state == "JOB_STATE_SUCCEEDED"
    assert job.output_directory.startswith(asked.output_uri + "/")
    assert (job.successful_count, max(job.failed_count, 0)) == (5, 0)
    assert 0 < job.create_time <= job.start_time <= job.end_time
    found = {line["key"]: line for line in output(bucket, job)}
    assert sorted(found) == [f"r-{n}-k" for n in range(5)]
    for n in range(5):
        line = found[f"r-{n}-k"]
        assert (line["status"], line["metadata"]) == ("", '{"shop":7}')
        assert line["request"]["contents"][0]["parts"][0]["text"] == f"text {n}"
        assert line["response"]["candidates"][0]["content"]["parts"][0]["text"]
        assert line["response"]["candidates"][0]["finishReason"] == "STOP"
        assert line["response"]["usageMetadata"]["totalTokenCount"] > 0


def test_a_job_whose_input_is_missing_fails_and_says_why(bucket: Bucket, jobs: BatchJobs) -> None:
    job = ended(jobs, jobs.create(request(bucket)).name)

    assert job.state == "JOB_STATE_FAILED"
    assert job.error_code > 0
    assert job.error_message


def test_a_job_whose_input_is_not_json_fails_in_the_importer(
    bucket: Bucket, jobs: BatchJobs
) -> None:
    asked = request(bucket)
    bucket.write(asked.input_uri.removeprefix(bucket.url + "/"), b'{"request": \n')

    job = ended(jobs, jobs.create(asked).name)

    assert (job.state, job.error_code) == ("JOB_STATE_FAILED", 3)
    assert "Failed to import data" in job.error_message


def test_a_model_that_does_not_exist_is_refused_at_once(bucket: Bucket, jobs: BatchJobs) -> None:
    asked = request(bucket, model="publishers/google/models/no-such-model")

    with pytest.raises(Permanent, match="no-such-model"):
        jobs.create(asked)
    assert list(jobs.list(f'display_name="{asked.display_name}"')) == []


def test_a_job_that_nobody_created_is_not_found(jobs: BatchJobs) -> None:
    name = "projects/p/locations/global/batchPredictionJobs/12345"
    with pytest.raises(NotFound):
        jobs.get(name)
    with pytest.raises(NotFound):
        jobs.cancel(name)


def test_jobs_are_found_by_all_their_labels_and_by_their_display_name(
    bucket: Bucket, jobs: BatchJobs
) -> None:
    asked = [request(bucket), request(bucket), request(bucket, shard="1")]
    made = [jobs.create(one) for one in asked]

    by_labels = " AND ".join(f'labels.{name}="{value}"' for name, value in asked[1].labels.items())
    assert [job.name for job in jobs.list(by_labels)] == [made[1].name]
    assert [job.name for job in jobs.list(f'display_name="{asked[0].display_name}"')] == [
        made[0].name
    ]
    mill = f'labels.promptmill="{names.deployment_id(bucket.url)}"'
    assert {job.name for job in jobs.list(mill)} == {job.name for job in made}
    assert {job.name for job in jobs.list(f'{mill} AND labels.shard="1"')} == {made[2].name}
    assert list(jobs.list('labels.promptmill="somebody-elses"')) == []


def test_a_listed_job_is_the_job(bucket: Bucket, jobs: BatchJobs) -> None:
    asked = request(bucket)
    write_input(bucket, asked, [row("a", key="r-1-1")])
    made = jobs.create(asked)

    job = ended(jobs, made.name)

    assert list(jobs.list(f'display_name="{asked.display_name}"')) == [job]


def test_active_jobs_are_those_that_have_not_ended(bucket: Bucket, jobs: BatchJobs) -> None:
    mill = names.deployment_id(bucket.url)
    over = jobs.create(request(bucket))
    ended(jobs, over.name)
    asked = request(bucket)
    write_input(bucket, asked, [row("a", key="r-1-1")])
    young = jobs.create(asked)

    assert [job.name for job in jobs.list(active_filter(mill))] == [young.name]


def test_a_list_of_many_pages_is_whole(bucket: Bucket, jobs: BatchJobs) -> None:
    made = {jobs.create(request(bucket)).name for _ in range(104)}

    listed = [
        job.name for job in jobs.list(f'labels.promptmill="{names.deployment_id(bucket.url)}"')
    ]

    assert set(listed) == made
    assert len(listed) == 104


def test_a_job_that_is_cancelled_ends_cancelled_and_may_be_cancelled_again(
    bucket: Bucket, jobs: BatchJobs
) -> None:
    asked = request(bucket)
    write_input(bucket, asked, [row("a", key="r-1-1")])
    made = jobs.create(asked)

    jobs.cancel(made.name)

    assert ended(jobs, made.name).state == "JOB_STATE_CANCELLED"
    jobs.cancel(made.name)


def test_a_filter_that_is_not_understood_is_refused(jobs: BatchJobs) -> None:
    with pytest.raises(Permanent, match="filter"):
        list(jobs.list("colour=blue"))
