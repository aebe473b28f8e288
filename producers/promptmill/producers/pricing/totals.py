"""The cost of many runs, by label, model or day."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.prices import to_dollars, to_picodollars


class GroupBy(StrEnum):
    """How runs are grouped. A run with several labels is in several groups."""

    label = "label"
    model = "model"
    day = "day"


class RunCost(msgspec.Struct, frozen=True):
    """The cost of one run, or None. ``created`` is in seconds since the epoch."""

    run: str
    created: float
    model: str
    labels: dict[str, str] = {}
    done: bool = False
    cost: Cost | None = None

    @property
    def final_cost(self) -> Cost | None:
        """The cost of a completed run, if it is known."""
        return self.cost if self.done and self.cost and self.cost.usd is not None else None


class Total(msgspec.Struct, frozen=True):
    """The total cost of a group of runs, in USD.

    Amounts cover completed runs with a known cost. They are None without such a run.
    """

    of: str
    """The group: ``label=value``, a model, or a day as an ISO date."""
    runs: int
    """Number of runs in the group."""
    usd: float | None
    """Total cost."""
    online_usd: float | None
    """Total cost of the same tokens outside batch jobs."""
    estimated_usd: float | None
    """Sum of the estimates."""
    under_way: int
    """Number of runs in progress."""
    unknown: int
    """Number of completed runs without a known cost."""


def group_costs(run_costs: Iterable[RunCost], by: GroupBy) -> list[Total]:
    """Return the totals of runs by group, sorted by group."""
    sums: dict[str, _CostSum] = {}
    for run_cost in run_costs:
        for group in _GROUP_NAMES[by](run_cost):
            sums.setdefault(group, _CostSum()).add_run(run_cost)
    return [sums[name].to_total(name) for name in sorted(sums)]


def sum_costs(run_costs: Iterable[RunCost]) -> Total:
    """Return the total of all runs."""
    cost_sum = _CostSum()
    for run_cost in run_costs:
        cost_sum.add_run(run_cost)
    return cost_sum.to_total("all")


class _CostSum:
    def __init__(self) -> None:
        self._runs = self._under_way = self._unknown = 0
        self._usd: int | None = None
        self._online: int | None = None
        self._estimated: int | None = None

    def add_run(self, run_cost: RunCost) -> None:
        self._runs += 1
        cost = run_cost.final_cost
        self._under_way += not run_cost.done
        self._unknown += run_cost.done and cost is None
        if cost is None:
            return
        self._usd = _add_usd(self._usd, cost.usd)
        self._online = _add_usd(self._online, cost.online_usd)
        self._estimated = _add_usd(self._estimated, cost.estimate.usd if cost.estimate else None)

    def to_total(self, group: str) -> Total:
        usd, online, estimated = map(_to_usd, (self._usd, self._online, self._estimated))
        return Total(group, self._runs, usd, online, estimated, self._under_way, self._unknown)


def _add_usd(amount: int | None, usd: float | None) -> int | None:
    return amount if usd is None else (amount or 0) + to_picodollars(usd)


def _to_usd(amount: int | None) -> float | None:
    return None if amount is None else to_dollars(amount)


def _label_groups(run_cost: RunCost) -> Iterator[str]:
    yield from (
        (f"{name}={value}" for name, value in run_cost.labels.items()) if run_cost.labels else [""]
    )


def _model_group(run_cost: RunCost) -> Iterator[str]:
    yield run_cost.model.removeprefix("publishers/google/models/")


def _day_group(run_cost: RunCost) -> Iterator[str]:
    yield datetime.fromtimestamp(run_cost.created, UTC).date().isoformat()


_GROUP_NAMES: dict[GroupBy, Callable[[RunCost], Iterator[str]]] = {
    GroupBy.label: _label_groups,
    GroupBy.model: _model_group,
    GroupBy.day: _day_group,
}
