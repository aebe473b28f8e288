"""What goes wrong, when, and how often it has: all drawn from one seed."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_CRASHES = 2
"""Of one step: one that takes its worker along more often is poison, and is parked, as it should be."""
MOST_REFUSALS = 3
"""By the broker in one step, for the same reason."""


_WEIGHTS = {
    "redis": 0.4,
    "bucket.read": 0.5,
    "bucket.replace": 8.0,
    "bucket.delete": 3.0,
    "bucket.write_stream": 4.0,
    "bucket.read_range": 3.0,
    "jobs.cancel": 10.0,
    "jobs.create": 3.0,
    "caller.send": 10.0,
    "jobs.get": 2.0,
}
"""How much likelier a call to a port goes wrong than others: what is seldom called would hardly ever."""


_SELDOM = 5
"""How much likelier still a worker dies at a call of these: a step may take its worker along only so often."""


@dataclass(frozen=True)
class Rates:
    """How likely a fault is, at every call of a port or for every message."""

    before: float = 0.0
    after: float = 0.0
    slow: float = 0.0
    crash: float = 0.0
    switch: float = 0.0
    lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    disturbed: float = 0.0
    create: float = 0.0
    frozen: float = 0.0


def drawn(rng: random.Random) -> Rates:
    """Draw the rates of one seed: each fault is absent, rare or frequent, so that single ones are seen alone too."""

    def one(rare: float, frequent: float) -> float:
        return rng.choice((0.0, rare, frequent))

    return Rates(
        before=one(0.005, 0.05),
        after=one(0.005, 0.05),
        slow=one(0.005, 0.03),
        crash=one(0.002, 0.02),
        switch=rng.choice((0.02, 0.1, 0.4)),
        lost=one(0.01, 0.08),
        twice=one(0.05, 0.3),
        late=one(0.02, 0.1),
        disturbed=one(0.3, 0.8),
        create=one(0.2, 0.5),
        frozen=one(0.005, 0.03),
    )


class Fault(NamedTuple):
    """What happens to one call: its ``kind`` (empty for nothing), and for how many seconds it waits first."""

    kind: str
    pause: float


@dataclass
class Faults:
    """Draws faults, and counts those that occurred."""

    rng: random.Random
    rates: Rates
    active: bool = True
    seen: Counter[str] = field(default_factory=Counter)
    _crashes: Counter[str] = field(default_factory=Counter)
    _refusals: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str) -> None:
        """Count a fault that occurred."""
        self.seen[kind] += 1

    def happens(self, rate: float) -> bool:
        """Decide whether something of this likelihood happens now."""
        return self.active and rate > 0 and self.rng.random() < rate

    def call(self, port: str, step: str, longest: float) -> Fault:
        """Draw the fault of one call to a port, made by ``step``, which may be held up for ``longest`` seconds."""
        pause = self._pause(port, longest)
        if not self.active:
            return Fault("", pause)
        weight = _WEIGHTS.get(port, 1.0)
        rates, dice = self.rates, self.rng.random() / weight
        crash = rates.crash / 2 * (_SELDOM if weight > 1 else 1)
        for kind, rate in (
            ("before", rates.before),
            ("after", rates.after),
            ("crash before", crash),
            ("crash after", crash),
        ):
            dice -= rate
            if dice < 0:
                return Fault(kind if self._allowed(kind, port, step) else "", pause)
        return Fault("", pause)

    def may_crash(self, step: str) -> bool:
        """Whether a step may take its worker along once more; counts it."""
        self._crashes[step] += 1
        return self._crashes[step] <= MOST_CRASHES

    def _may_be_refused(self, step: str) -> bool:
        """Whether the broker may refuse a message of this step once more; counts it."""
        self._refusals[step] += 1
        return self._refusals[step] <= MOST_REFUSALS

    def _pause(self, port: str, longest: float) -> float:
        if self.happens(self.rates.slow * _WEIGHTS.get(port, 1.0)):
            self.note(f"{port}: slow")
            return self.rng.uniform(0.2, 1.0) * longest
        return self.rng.expovariate(2.0) if self.rng.random() < self.rates.switch else 0.0

    def _allowed(self, kind: str, port: str, step: str) -> bool:
        if kind.startswith("crash") and not self.may_crash(step):
            return False
        if port == "queue" and not kind.startswith("crash") and not self._may_be_refused(step):
            return False
        self.note(f"{port}: {kind}")
        return True
