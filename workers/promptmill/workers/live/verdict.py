"""The outcome of one belief."""

from collections.abc import Callable
from typing import NamedTuple

from promptmill.workers.live.evidence import Evidence


class Verdict(NamedTuple):
    """Whether a belief holds; None if the evidence does not decide. One line of evidence."""

    holds: bool | None
    evidence: str


class Belief(NamedTuple):
    """One thing that Promptmill believes of Google, and the function that decides it."""

    name: str
    statement: str
    decide: Callable[[Evidence], Verdict]


def undecided(reason: str) -> Verdict:
    """Return the verdict of a belief without evidence."""
    return Verdict(None, reason)
