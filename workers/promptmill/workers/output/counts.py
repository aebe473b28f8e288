"""Counts results by state and failure reason, and adds up their tokens."""

from collections import Counter
from collections.abc import Sequence

from promptmill.producers.contract.results import Result
from promptmill.workers.costs.usage import UsageMeter
from promptmill.workers.facts.records import Counts


def count_result(
    result: Result, states: Counter[str], failures: Counter[str], meter: UsageMeter
) -> None:
    """Add a result's state, failure reason and tokens to the counts."""
    states[result.state] += 1
    if result.error:
        failures[result.error.reason] += 1
    meter.add_usage(result.usage)


class ResultCounter:
    """Counts results. ``thresholds`` are those of ``UsageMeter``."""

    def __init__(self, thresholds: Sequence[int] = (0,)) -> None:
        self.states: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.meter = UsageMeter(thresholds)

    def add_result(self, result: Result) -> None:
        """Count one result."""
        count_result(result, self.states, self.failures, self.meter)

    def to_counts(self) -> Counts:
        """Return the counts so far."""
        return Counts(
            succeeded=self.states["succeeded"],
            failed=self.states["failed"],
            failures=dict(sorted(self.failures.items())),
            tokens=self.meter.token_counts,
            billed=self.meter.billed_tokens,
            duplicates=self.states["duplicate"],
            unknown=self.states["unknown"],
        )
