"""Invariants of every ended run, whatever faults occurred.

- Each request has one final state.
- Each attempt of a shard has one paid job.
- Each sink has each row.

    assert violations(observed) == []

`observe` collects the data of an ended run. `violations` describes each violation.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from promptmill.producers import Report, Result, Run
from support.local_stack import keys

Bill = Callable[[str], list[dict[str, Any]]]
"""Returns the emulator's bill for a run, as `LocalStack.jobs` does."""


@dataclass(frozen=True)
class Observed:
    """An ended run: its accepted keys, results, sinks, report and bill."""

    accepted: Counter[str]
    results: list[Result]
    sinks: Mapping[str, list[Result]]
    report: Report
    bill: list[dict[str, Any]]


def observe(
    run: Run, accepted: Iterable[str], bill: Bill, sinks: Mapping[str, list[Result]]
) -> Observed:
    """Collect the data of an ended run."""
    return Observed(Counter(accepted), list(run.results()), sinks, run.report(), bill(run.id))


def violations(seen: Observed) -> list[str]:
    """Return a description of each violation."""
    return [
        *_of_rows("the list of results", seen.accepted, seen.results),
        *(
            breach
            for name, rows in seen.sinks.items()
            for breach in _of_rows(name, seen.accepted, rows)
        ),
        *(
            breach
            for name, rows in seen.sinks.items()
            for breach in _of_content(name, seen.results, rows)
        ),
        *_of_the_bill(seen),
        *_of_the_report(seen),
    ]


def _of_rows(where: str, accepted: Counter[str], rows: list[Result]) -> Iterator[str]:
    found = keys(rows)
    lost, strange = accepted - found, found.keys() - accepted.keys()
    twice = [key for key, times in found.items() if times > 1]
    if lost:
        yield f"{where} lacks {_some(lost)}"
    if twice:
        yield f"{where} has duplicates of {_some(twice)}"
    if strange:
        yield f"{where} has {_some(strange)}, which no producer sent"


def _of_content(where: str, results: list[Result], rows: list[Result]) -> Iterator[str]:
    known = {result.key: result for result in results}
    other = [row.key for row in rows if row.key in known and row != known[row.key]]
    if other:
        yield f"{where} differs from the results in {_some(other)}"


def _of_the_bill(seen: Observed) -> Iterator[str]:
    paid = Counter((job["labels"]["shard"], job["labels"]["attempt"]) for job in seen.bill)
    for (shard, attempt), times in paid.items():
        if times > 1:
            yield f"shard {shard} was paid for {times} times in attempt {attempt}"
    if seen.report.jobs != len(seen.bill):
        yield f"the report has {seen.report.jobs} jobs, the bill {len(seen.bill)}"
    tried = max((result.attempt for result in seen.results), default=1)
    needless = [attempt for _, attempt in paid if int(attempt) > tried]
    if needless:
        yield f"attempt {needless[0]} was paid for, and has no result"


def _of_the_report(seen: Observed) -> Iterator[str]:
    report, states = seen.report, Counter(result.succeeded for result in seen.results)
    if report.unaccounted:
        yield f"{report.unaccounted} requests are not accounted for"
    if report.requests != seen.accepted.total():
        yield f"the report has {report.requests} requests, {seen.accepted.total()} were accepted"
    if (report.succeeded, report.failed) != (states[True], states[False]):
        yield (
            f"the report has {report.succeeded} succeeded and {report.failed} failed, "
            f"the results {states[True]} and {states[False]}"
        )


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return f"{len(found)} rows ({', '.join(found[:3])})"
