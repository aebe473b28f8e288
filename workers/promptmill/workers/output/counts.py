"""Counts results: their states, the reasons of failures, tokens."""

from collections import Counter
from collections.abc import Sequence

from promptmill.producers.contract.results import Result
from promptmill.workers.costs.usage import UsageMeter
from promptmill.workers.facts.records import Counts


def count_result(
    result: Result, states: Counter[str], failures: Counter[str], meter: UsageMeter
) -> None:
    """Count one result: its state, its failure's reason, its tokens."""
    states[result.state] += 1
    if result.error:
        failures[result.error.reason] += 1
    meter.add_usage(result.usage)


class ResultCounter:
    """What was counted of some results; ``thresholds`` are those of a ``Meter``."""

    def __init__(self, thresholds: Sequence[int] = (0,)) -> None:
        self.states: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.meter = UsageMeter(thresholds)

    def add_result(self, result: Result) -> None:
        """Count one result."""
        count_result(result, self.states, self.failures, self.meter)

    def to_counts(self) -> Counts:
        """Return what was counted."""
        return Counts(
            succeeded=self.states["succeeded"],
            failed=self.states["failed"],
            failures=dict(sorted(self.failures.items())),
            tokens=self.meter.token_counts,
            billed=self.meter.billed_tokens,
            duplicates=self.states["duplicate"],
            unknown=self.states["unknown"],
        )
