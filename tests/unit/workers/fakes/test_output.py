"""What the fakes do beyond the contract: the scripts by which users test their own flows."""

from dataclasses import replace

import msgspec
import pytest

from promptmill.config.errors import OutcomeUnknown, Permanent
from promptmill.workers.fakes import FakeJobs, MemoryBucket, Script
from promptmill.workers.fakes.output import echo_prompt, output_files
from promptmill.workers.ports.google import JobRequest

ROWS = [
    {"key": f"k{n}", "request": {"contents": [{"parts": [{"text": f"t{n}"}]}]}} for n in range(4)
]


def keys(script: Script) -> list[list[str | None]]:
    files = output_files(ROWS, echo_prompt, script)
    return [
        [msgspec.json.decode(line).get("key") for line in data.splitlines()] for _, data in files
    ]


def test_a_script_leaves_rows_out_doubles_them_and_takes_their_keys() -> None:
    script = Script(
        missing=frozenset({0}), duplicated=frozenset({1}), unkeyed=frozenset({2}), seed=None
    )

    assert keys(script) == [["k1", "k1", None, "k3"]]


def test_a_script_divides_the_output_into_files_in_an_order_of_its_own() -> None:
    (first, second), other = keys(Script(files=2, seed=1)), keys(Script(files=2, seed=2))

    assert sorted(first + second, key=str) == ["k0", "k1", "k2", "k3"]
    assert [first, second] != other
    assert [name for name, _ in output_files(ROWS, echo_prompt, Script(files=2))] == [
        "predictions_0001.jsonl",
        "predictions_0002.jsonl",
    ]


def test_a_script_cuts_the_last_line() -> None:
    ((_, whole),) = output_files(ROWS, echo_prompt, Script(seed=None))
    ((_, cut),) = output_files(ROWS, echo_prompt, Script(seed=None, truncated=True))

    assert whole.startswith(cut)
    assert cut.count(b"\n") == 3
    assert not cut.endswith(b"\n")


def test_answers_are_texts_or_whole_responses() -> None:
    ((_, data),) = output_files(
        ROWS[:1], lambda _: {"promptFeedback": {"blockReason": "SAFETY"}}, Script()
    )

    assert msgspec.json.decode(data)["response"] == {"promptFeedback": {"blockReason": "SAFETY"}}


def test_troubles_of_a_creation_come_in_the_order_they_were_asked_for() -> None:
    jobs = FakeJobs(MemoryBucket())
    request = JobRequest("d", "gemini-x", "gs://fake/mill/i", "gs://fake/mill/o", {})
    jobs.refuse_next(Permanent("no"))
    jobs.lose_next_response()

    with pytest.raises(Permanent):
        jobs.create(request)
    with pytest.raises(OutcomeUnknown):
        jobs.create(request)
    assert len(jobs.requests) == 1
    assert [job.state for job in jobs.list("")] == ["JOB_STATE_FAILED"]  # there was no input


def test_the_next_jobs_follow_their_own_scripts_and_a_failed_one_may_write_output() -> None:
    bucket = MemoryBucket()
    bucket.write("in.jsonl", b"\n".join(map(msgspec.json.encode, ROWS)))
    jobs = FakeJobs(bucket)
    lost_export = Script("JOB_STATE_FAILED", 13, "Failed", incremental=True, located=False)
    jobs.script_next(lost_export, replace(lost_export, exported=True, located=True))
    request = JobRequest("d", "gemini-fake", f"{bucket.url}/in.jsonl", f"{bucket.url}/out", {})

    ended = [jobs.get(jobs.create(request).name) for _ in range(3)]

    assert [job.state for job in ended] == [*["JOB_STATE_FAILED"] * 2, "JOB_STATE_SUCCEEDED"]
    assert [bool(job.output_directory) for job in ended] == [False, True, True]
    assert [job.successful_count for job in ended] == [-1, 4, 4]
    names = [stored.name.rpartition("/")[0][-11:] for stored in bucket.list("out/")]
    assert names.count("predictions") == 1
