"""Counts results: their states, the reasons of failures, tokens."""

from collections import Counter

from promptmill.producers.results import Result
from promptmill.workers.facts import Counts

_TOKENS = (
    "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount",
    "totalTokenCount",
)  # fmt: skip


def count(result: Result, states: Counter[str], failures: Counter[str], tokens: Counter[str]) -> None:
    """Count one result: its state, its failure's reason, its tokens."""
    states[result.state] += 1
    if result.error:
        failures[result.error.reason] += 1
    for kind in _TOKENS:
        if isinstance(number := result.usage.get(kind), int):
            tokens[kind] += number


class Tally:
    """What was counted of some results."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        """Count one result."""
        count(result, self.states, self.failures, self.tokens)

    def counts(self) -> Counts:
        """Return what was counted."""
        return Counts(
            succeeded=self.states["succeeded"],
            failed=self.states["failed"],
            failures=dict(sorted(self.failures.items())),
            tokens=dict(sorted(self.tokens.items())),
            duplicates=self.states["duplicate"],
            unknown=self.states["unknown"],
        )
