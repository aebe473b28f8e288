"""Every row of a shard gets exactly one final state, for any output of its job."""

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.config import names
from promptmill.producers.contract.results import Error
from promptmill.producers.requests.encode import join_wire_key
from promptmill.workers.facts.records import Counts
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import FakeJobs, MemoryBucket, Script
from promptmill.workers.output.merge_parts import PartRows, resolve_rows
from support.fake_pipeline import RUN, FakePipeline

ROWS = st.builds(RowSet, st.integers(0, 0xFF))
PARTS = st.lists(st.builds(lambda s, f, p: PartRows(s, f, f & p), ROWS, ROWS, ROWS), max_size=5)


@given(PARTS)
def test_every_answered_row_is_kept_in_one_file_or_retried(parts: list[PartRows]) -> None:
    made = resolve_rows(parts)

    for row in range(8):
        succeeded = sum(
            row in part.succeeded - drop.succeeded
            for part, drop in zip(parts, made.drops, strict=True)
        )
        failed = sum(
            row in part.failed - drop.failed for part, drop in zip(parts, made.drops, strict=True)
        )
        any_success = any(row in part.succeeded for part in parts)
        any_answer = any_success or any(row in part.failed for part in parts)
        assert succeeded == any_success
        assert succeeded + failed + (row in made.retried) == any_answer
        assert (row in made.answered) == bool(succeeded + failed)


@given(PARTS)
def test_only_rows_with_transient_failures_are_retried(parts: list[PartRows]) -> None:
    again = resolve_rows(parts).retried

    for row in range(8):
        outcomes = [part for part in parts if row in part.succeeded | part.failed]
        passing = [part for part in outcomes if row in part.retryable - part.succeeded]
        assert (row in again) == bool(outcomes and len(passing) == len(outcomes))


def states(script: Script, prompts: list[str], **limits: int) -> tuple[FakePipeline, list[str]]:
    pipeline = FakePipeline(script=script, **limits)  # type: ignore[arg-type]
    run = pipeline.send(prompts)
    pipeline.drive(run)
    return pipeline, [
        result.error.reason if result.error else result.text for result in pipeline.results(run)
    ]


@pytest.mark.parametrize("part_bytes", [50, 400, 1 << 20])
def test_the_first_success_of_a_row_counts(part_bytes: int) -> None:
    lines = [line(1, "SAFETY"), line(1, "STOP"), line(2, "SAFETY"), line(2, "MAX_TOKENS")]

    pipeline, found = states(
        Script(missing=frozenset({0, 1}), strange=tuple(lines), seed=None),
        ["a", "b"],
        part_bytes=part_bytes,
    )

    assert found == ["late", "SAFETY"]
    assert pipeline.report(RUN).duplicates == 2


def line(row: int, finish: str) -> bytes:
    """Return a line of output that answers a row with "late"."""
    candidate = {"content": {"parts": [{"text": "late"}]}, "finishReason": finish}
    key = join_wire_key(names.tag(RUN), row, str(row))
    return msgspec.json.encode(
        {"key": key, "status": "", "request": {}, "response": {"candidates": [candidate]}}
    )


def test_answers_without_keys_are_matched_by_request() -> None:
    script = Script(unkeyed=frozenset(range(4)))

    _, found = states(script, ["same", "other", "same", "third"])

    assert found == ["You said: same", "You said: other", "You said: same", "You said: third"]


def test_an_answer_without_a_key_to_an_unknown_request_is_unknown() -> None:
    strange = b'{"status":"","request":{"contents":[{"parts":[{"text":"?"}]}]},"response":{}}'

    pipeline, found = states(Script(strange=(strange, b'{"status":"","response":{}}')), ["a"])

    assert found == ["You said: a"]
    assert pipeline.report(RUN).unknown == 2


def test_a_row_that_is_not_in_the_output_is_missing() -> None:
    pipeline, found = states(Script(missing=frozenset({1})), ["a", "b", "c"])

    assert found == ["You said: a", "MISSING_ROW", "You said: c"]
    assert pipeline.report(RUN).failures == {"MISSING_ROW": 1}


@pytest.mark.parametrize("strange", [b"{", b"<html>", b"'{}'", b'{"response":{"candidates":[]}}'])
def test_a_row_is_not_paid_for_again_and_again_if_no_line_names_it(strange: bytes) -> None:
    script = Script(missing=frozenset({0}), strange=(strange,))
    pipeline = FakePipeline(script=script, max_attempts=5)
    run = pipeline.send(["a"])
    pipeline.drive(run)

    (failed,) = pipeline.results(run)
    assert failed.error and failed.error.reason == "UNREADABLE_RESPONSE"
    assert "has lines that name no row" in failed.error.message
    assert pipeline.report(run).jobs == 2


def test_usage_of_an_answer_to_an_unknown_request_counts() -> None:
    strange = b'{"response":{"usageMetadata":{"totalTokenCount":7}}}'

    pipeline, _ = states(Script(strange=(strange,), missing=frozenset({0})), ["a"])

    assert pipeline.report(RUN).tokens == {"totalTokenCount": 7}


class Cancelled(MemoryBucket):
    """Right before one write, cancels the run and lets a duplicate delivery run the step."""

    duplicate: Callable[[], object] | None = None

    def write(self, name: str, data: bytes) -> None:
        if "/results/" in name and self.duplicate:
            duplicate, self.duplicate = self.duplicate, None
            self.create(RunFolder(self, RUN).cancelled.name, b'{"at":0}')
            duplicate()
        super().write(name, data)


def test_duplicates_that_disagree_about_cancellation_keep_the_first_write() -> None:
    pipeline = FakePipeline(script=Script(missing=frozenset({1})), max_attempts=2)
    pipeline.bucket = bucket = Cancelled(clock=pipeline.clock)
    pipeline.jobs = FakeJobs(bucket, script=pipeline.script, clock=pipeline.clock)
    run = pipeline.send(["a", "b", {"key": "refused", "request": {}}])
    while (due := pipeline.due(run)) != [Step("settle", run, (0, 1))]:
        for step in due:
            pipeline.do(step)

    bucket.duplicate = lambda: pipeline.do(due[0])
    report = pipeline.drive(run)

    assert [result.error and result.error.reason for result in pipeline.results(run)] == [
        None, "MISSING_ROW", "INVALID_REQUEST",
    ]  # fmt: skip
    assert (report.unaccounted, report.jobs) == (0, 1)


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        ("JOB_STATE_FAILED", 3, "JOB_FAILED"),
        ("JOB_STATE_FAILED", 13, "JOB_INTERRUPTED"),
        ("JOB_STATE_EXPIRED", 0, "JOB_EXPIRED"),
        ("JOB_STATE_CANCELLED", 0, "JOB_CANCELLED"),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", 0, "MISSING_ROW"),
    ],
)
def test_an_unprocessed_row_says_how_its_job_ended(state: str, code: int, reason: str) -> None:
    script = Script(state=state, error_code=code, error_message="why", missing=frozenset({0, 1}))

    pipeline, found = states(script, ["a", "b"])

    assert found == [reason, reason]
    error = pipeline.results(RUN)[0].error
    assert error == Error(
        reason, "the job's output has no row for this request" if reason == "MISSING_ROW" else "why"
    )


@settings(max_examples=60)
@given(
    missing=st.frozensets(st.integers(0, 11)), duplicated=st.frozensets(st.integers(0, 11)),
    statuses=st.dictionaries(st.integers(0, 11), st.sampled_from(["Quota: {}", "x"])), files=st.integers(1, 4),
    seed=st.integers(0, 99), part_bytes=st.sampled_from([60, 300, 3000]), strange=st.integers(0, 3),
)  # fmt: skip
def test_all_lines_and_rows_are_counted(
    missing: frozenset[int], duplicated: frozenset[int], statuses: dict[int, str], files: int, seed: int,
    part_bytes: int, strange: int,
) -> None:  # fmt: skip
    script = Script(missing=missing, duplicated=duplicated, statuses=statuses, files=files, seed=seed,
                    strange=(b'{"key":"x-1-1"}', b"{", b"\xff")[:strange])  # fmt: skip

    pipeline, found = states(script, [f"text {n}" for n in range(12)], part_bytes=part_bytes)

    reason = "UNREADABLE_RESPONSE" if max(strange - 1, 0) >= len(missing) else "MISSING_ROW"
    expected = [
        reason if n in missing else "UNKNOWN" if n in statuses else f"You said: text {n}"
        for n in range(12)
    ]
    assert found == expected
    report = pipeline.report(RUN)
    assert report.failures == Counter(reason for reason in expected if reason.isupper())
    assert report.duplicates == len(duplicated - missing)
    assert (report.unknown, report.unreadable) == (min(strange, 1), max(strange - 1, 0))
    assert report.unaccounted == 0


COUNTS = st.builds(
    Counts, succeeded=st.integers(0, 9), failed=st.integers(0, 9), duplicates=st.integers(0, 9),
    failures=st.dictionaries(st.sampled_from("ab"), st.integers(1, 9)), tokens=st.dictionaries(st.just("t"), st.integers(0)),
)  # fmt: skip


@given(COUNTS, COUNTS, COUNTS)
def test_counts_add_up_in_any_order(a: Counts, b: Counts, c: Counts) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Counts() == a + Counts()
    assert (a + b).failures.get("a", 0) == a.failures.get("a", 0) + b.failures.get("a", 0)
