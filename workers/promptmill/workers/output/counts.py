"""Counts results: their states, the reasons of failures, tokens."""

from collections import Counter
from collections.abc import Sequence

from promptmill.producers.contract.results import Result
from promptmill.workers.costs.usage import Meter
from promptmill.workers.facts.records import Counts


def count(result: Result, states: Counter[str], failures: Counter[str], meter: Meter) -> None:
    """Count one result: its state, its failure's reason, its tokens."""
    states[result.state] += 1
    if result.error:
        failures[result.error.reason] += 1
    meter.add(result.usage)


class Tally:
    """What was counted of some results; ``thresholds`` are those of a ``Meter``."""

    def __init__(self, thresholds: Sequence[int] = (0,)) -> None:
        self.states: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.meter = Meter(thresholds)

    def add(self, result: Result) -> None:
        """Count one result."""
        count(result, self.states, self.failures, self.meter)

    def counts(self) -> Counts:
        """Return what was counted."""
        return Counts(
            succeeded=self.states["succeeded"],
            failed=self.states["failed"],
            failures=dict(sorted(self.failures.items())),
            tokens=self.meter.tokens,
            billed=self.meter.billed,
            duplicates=self.states["duplicate"],
            unknown=self.states["unknown"],
        )
