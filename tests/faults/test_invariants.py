"""The checker of the fault tests finds each planted violation."""

from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from faults.invariants import Observed, violations
from promptmill.producers import Report, Result

KEYS = ["a", "b", "c", "d"]
ROWS = [Result(key, row, "succeeded") for row, key in enumerate(KEYS, 1)]
JOB = {"labels": {"shard": "0", "attempt": "1"}}
REPORT = msgspec.convert(
    {
        **dict.fromkeys(["run", "state", "name", "model", "results"], ""),
        **dict.fromkeys(["failed", "unaccounted", "duplicates", "unknown", "unreadable"], 0),
        **{name: {} for name in ("failures", "tokens", "seconds")},
        **dict.fromkeys(["vertex_seconds", "overhead_seconds"], 0.0),
        "requests": 4,
        "succeeded": 4,
        "jobs": 1,
        "sinks": [],
    },
    Report,
)
WHOLE = Observed(Counter(KEYS), ROWS, {"the sink": ROWS}, REPORT, [JOB])


def test_a_run_that_went_well_breaches_nothing() -> None:
    assert violations(WHOLE) == []


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (replace(WHOLE, results=ROWS[1:]), "the list of results lacks 1 rows (a)"),
        (
            replace(WHOLE, results=[*ROWS, ROWS[0]]),
            "the list of results has duplicates of 1 rows (a)",
        ),
        (replace(WHOLE, sinks={"the sink": ROWS[:2]}), "the sink lacks 2 rows (c, d)"),
        (
            replace(WHOLE, sinks={"the sink": [*ROWS, *ROWS]}),
            "the sink has duplicates of 4 rows (a, b, c)",
        ),
        (
            replace(WHOLE, results=[*ROWS, Result("x", 9, "failed")]),
            "the list of results has 1 rows (x), which no producer sent",
        ),
        (
            replace(
                WHOLE, sinks={"the sink": [Result("a", 1, "succeeded", text="other"), *ROWS[1:]]}
            ),
            "the sink differs from the results in 1 rows (a)",
        ),
        (replace(WHOLE, bill=[JOB, JOB]), "shard 0 was paid for 2 times in attempt 1"),
        (replace(WHOLE, bill=[]), "the report has 1 jobs, the bill 0"),
        (
            replace(WHOLE, bill=[{"labels": {"shard": "0", "attempt": "2"}}]),
            "attempt 2 was paid for, and has no result",
        ),
        (
            replace(WHOLE, report=msgspec.structs.replace(REPORT, unaccounted=1)),
            "1 requests are not accounted for",
        ),
        (
            replace(WHOLE, report=msgspec.structs.replace(REPORT, requests=5)),
            "the report has 5 requests, 4 were accepted",
        ),
        (
            replace(WHOLE, report=msgspec.structs.replace(REPORT, succeeded=3, failed=1)),
            "the report has 3 succeeded and 1 failed, the results 4 and 0",
        ),
    ],
)
def test_what_is_lost_doubled_or_made_up_is_found(planted: Observed, found: str) -> None:
    assert found in violations(planted)
