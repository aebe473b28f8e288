"""What many runs cost together, by label, by model or by day."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.prices import dollars, picodollars


class By(StrEnum):
    """What runs are put together by; a run with several labels is with each of them."""

    label = "label"
    model = "model"
    day = "day"


class Bill(msgspec.Struct, frozen=True):
    """What is known of the cost of one run; ``created`` in seconds since the epoch. ``cost`` is None where nothing is."""

    run: str
    created: float
    model: str
    labels: dict[str, str] = {}
    done: bool = False
    cost: Cost | None = None

    @property
    def priced(self) -> Cost | None:
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


def totals(bills: Iterable[Bill], by: By) -> list[Total]:
    """Return what runs cost by ``by``, in order of its values; each run is looked at once."""
    sums: dict[str, _Sum] = {}
    for bill in bills:
        for name in _NAMES[by](bill):
            sums.setdefault(name, _Sum()).add(bill)
    return [sums[name].total(name) for name in sorted(sums)]


def total(bills: Iterable[Bill]) -> Total:
    """Return what runs cost together."""
    sum_ = _Sum()
    for bill in bills:
        sum_.add(bill)
    return sum_.total("all")


class _Sum:
    def __init__(self) -> None:
        self._runs = self._under_way = self._unknown = 0
        self._usd: int | None = None
        self._online: int | None = None
        self._estimated: int | None = None

    def add(self, bill: Bill) -> None:
        self._runs += 1
        cost = bill.priced
        self._under_way += not bill.done
        self._unknown += bill.done and cost is None
        if cost is None:
            return
        self._usd = _plus(self._usd, cost.usd)
        self._online = _plus(self._online, cost.online_usd)
        self._estimated = _plus(self._estimated, cost.estimate.usd if cost.estimate else None)

    def total(self, name: str) -> Total:
        usd, online, estimated = (
            None if sum_ is None else dollars(sum_) for sum_ in (self._usd, self._online, self._estimated)
        )
        return Total(name, self._runs, usd, online, estimated, self._under_way, self._unknown)


def _plus(sum_: int | None, usd: float | None) -> int | None:
    return sum_ if usd is None else (sum_ or 0) + picodollars(usd)


def _labels(bill: Bill) -> Iterator[str]:
    yield from (f"{name}={value}" for name, value in bill.labels.items()) if bill.labels else [""]


def _model(bill: Bill) -> Iterator[str]:
    yield bill.model.removeprefix("publishers/google/models/")


def _day(bill: Bill) -> Iterator[str]:
    yield datetime.fromtimestamp(bill.created, UTC).date().isoformat()


_NAMES: dict[By, Callable[[Bill], Iterator[str]]] = {By.label: _labels, By.model: _model, By.day: _day}
