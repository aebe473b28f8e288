"""What many runs cost together, by label, by model or by day."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.prices import to_dollars, to_picodollars


class GroupBy(StrEnum):
    """What runs are put together by; a run with several labels is with each of them."""

    label = "label"
    model = "model"
    day = "day"


class RunCost(msgspec.Struct, frozen=True):
    """What is known of the cost of one run; ``created`` in seconds since the epoch. ``cost`` is None where nothing is."""

    run: str
    created: float
    model: str
    labels: dict[str, str] = {}
    done: bool = False
    cost: Cost | None = None

    @property
    def final_cost(self) -> Cost | None:
        """What the run cost, if it is done and that is known."""
        return self.cost if self.done and self.cost and self.cost.usd is not None else None


class Total(msgspec.Struct, frozen=True):
    """What ``runs`` cost together, in USD: those of them that are done, and whose price is known.

    ``under_way`` runs go on, ``unknown`` ones are done and it is not known what they cost; neither is in the amounts,
    which are None where no run is. ``estimated_usd`` is what was expected of the same runs, as far as it was.
    """

    of: str
    runs: int
    usd: float | None
    online_usd: float | None
    estimated_usd: float | None
    under_way: int
    unknown: int


def group_costs(run_costs: Iterable[RunCost], by: GroupBy) -> list[Total]:
    """Return what runs cost by ``by``, in order of its values; each run is looked at once."""
    sums: dict[str, _CostSum] = {}
    for run_cost in run_costs:
        for group in _GROUP_NAMES[by](run_cost):
            sums.setdefault(group, _CostSum()).add_run(run_cost)
    return [sums[name].to_total(name) for name in sorted(sums)]


def sum_costs(run_costs: Iterable[RunCost]) -> Total:
    """Return what runs cost together."""
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
        usd, online, estimated = (
            None if amount is None else to_dollars(amount)
            for amount in (self._usd, self._online, self._estimated)
        )
        return Total(group, self._runs, usd, online, estimated, self._under_way, self._unknown)


def _add_usd(amount: int | None, usd: float | None) -> int | None:
    return amount if usd is None else (amount or 0) + to_picodollars(usd)


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
