"""Prices of Gemini models by kind of token, online and in batch jobs.

The price table is the data of the library genai-prices. Its own calculation is not
used: it falls back silently to the online price, it substitutes models with similar
names, and it handles one request at a time.

Missing batch prices follow Google's documentation of batch inference, of 2026-09-03
(docs.cloud.google.com/gemini-enterprise-agent-platform/models/capabilities/batch-inference).
A batch job costs half of the online price. The discount on cached tokens takes
precedence, so they cost the same as online.

Gemini 3 and later cost 10 % more outside the location ``global`` since 2026-07-01,
according to Google's pricing page (cloud.google.com/vertex-ai/generative-ai/pricing).
The table has no locations, so the surcharge is added here.

Prices are whole picodollars (10⁻¹² USD) per token, so sums are exact. An unknown price
is None, never 0. Charges that do not depend on tokens, such as searches, are not
included.
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from promptmill.producers.models.model_table import MODELS, find_model

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

TOKEN_KINDS = (
    "input",
    "input_audio",
    "input_image",
    "input_video",
    "cached",
    "cached_audio",
    "output",
    "output_image",
    "thoughts",
)
"""Kinds of tokens. ``thoughts`` cost the same as ``output``, but are reported
separately.
"""
PICODOLLARS_PER_DOLLAR = 10**12
"""Picodollars in one dollar."""

_MODEL_NAME = re.compile(
    r"(?:projects/[\w.:-]+/locations/[\w-]+/)?publishers/google/models/([\w.@-]+)|(gemini-[\w.@-]+)"
)
_VERSION_SUFFIX = re.compile(r"(-preview(-\d\d-\d{4})?)?([-@]\d{3}|@default|-latest)?$")
_NO_BATCH_MODELS = re.compile(r"-(tts|live|omni|robotics)\b|flash-1\.5|pro-1\.5|gemini-(1\.|pro$)")
_PRICE_FIELDS = {
    "input": "input_mtok",
    "input_audio": "input_audio_mtok",
    "input_image": "input_image_mtok",
    "input_video": "input_video_mtok",
    "cached": "cache_read_mtok",
    "cached_audio": "cache_audio_read_mtok",
    "output": "output_mtok",
    "output_image": "output_image_mtok",
}
_FALLBACK_KINDS = {
    "input_audio": "input",
    "input_image": "input",
    "input_video": "input",
    "cached": "input",
    "cached_audio": "cached",
    "output_image": "output",
}
"""The kind whose price applies if the table has none for a kind."""
MAX_JOB_DURATION = timedelta(days=5)
"""A job may wait for three days and run for one. Prices may rise in the meantime. The
fifth day covers the time zones: which one Google's dates have is not documented.
"""
GLOBAL_LOCATION = "global"
"""The location without a surcharge, and the default location of jobs."""
_SURCHARGE_START = datetime(2026, 7, 1, tzinfo=UTC)
_NO_SURCHARGE_MODELS = re.compile(r"gemini-([12]\D|embedding-001|flash-1|pro)")
"""Models before Gemini 3. A name without a generation counts as newer, so that a cost
limit holds if Google's surcharge includes it.
"""
_EMBEDDING = "-embedding-"
_KNOWN_FIELDS = {*_PRICE_FIELDS.values(), "web_searches_kcount"}
_TiersByKind = dict[str, dict[int, Decimal]]
"""USD per million tokens, by kind and by the input tokens above which they apply."""
_VERIFIED_ON = re.compile(r"verified on (\d{4}-\d\d-\d\d)")


class Rate(msgspec.Struct, frozen=True):
    """Picodollars per token by kind, for over ``above`` input tokens."""

    above: int
    per_token: dict[str, int]

    def calculate_cost(self, tokens: dict[str, int]) -> int:
        """Return the cost in picodollars of ``tokens`` by kind."""
        return sum(self._price_of(kind) * count for kind, count in tokens.items())

    @property
    def highest_input_price(self) -> int:
        """The price of the most expensive kind of input."""
        return max(price for kind, price in self.per_token.items() if kind.startswith("input"))

    def _price_of(self, kind: str) -> int:
        """Return the price of a kind; a stored plan may be older than the kind."""
        price = self.per_token.get(kind)
        return self.per_token[_FALLBACK_KINDS[kind]] if price is None else price


class Prices(msgspec.Struct, frozen=True):
    """The prices of a model on one day in one ``location``, in ``batch`` jobs and ``online``.

    Rates are in order of ``above``. ``table`` names the price table, ``on`` is the day
    of the prices, and ``checked`` the day of their last comparison with Google's pages.
    Both are ISO dates. ``context`` is the maximum number of input tokens; 0 is unknown.
    """

    model: str
    table: str
    checked: str
    on: str
    batch: list[Rate]
    online: list[Rate]
    context: int = 0
    location: str = GLOBAL_LOCATION

    @property
    def thresholds(self) -> list[int]:
        """Input tokens above which the next rate applies, ascending from 0."""
        return [rate.above for rate in self.batch]

    def age_in_days(self, today: date) -> int:
        """Return the days since the last comparison with Google's pages."""
        return max((today - date.fromisoformat(self.checked)).days, 0)


def find_prices(
    model: str, at: datetime | None = None, location: str = GLOBAL_LOCATION
) -> Prices | None:
    """Return the prices of a model at a time, by default now, for jobs in a ``location``.

    ``model`` is ``gemini-…`` or ``publishers/google/models/gemini-…``. Embedding models
    have an output price of 0. Returns None for tuned models, other publishers, models
    without batch jobs or not in the table, and always without the library
    (``pip install 'promptmill[prices]'``).
    """
    match = _MODEL_NAME.fullmatch(model)
    provider = _google_provider()
    if match is None or provider is None:
        return None
    name = match[1] or match[2]
    info = None if _NO_BATCH_MODELS.search(name) else _find_model(provider, name)
    when = at or datetime.now(UTC)
    prices = _build_prices(info, when) if info else None
    return _localize_prices(prices, location, when) if prices else None


def list_prices(at: datetime | None = None, location: str = GLOBAL_LOCATION) -> list[Prices]:
    """Return the prices of all models with batch jobs that are not retired at a time."""
    when = at or datetime.now(UTC)
    today = when.astimezone(UTC).date().isoformat()
    names = [model.name for model in MODELS.values() if not model.retires or today < model.retires]
    return [prices for name in names if (prices := find_prices(name, when, location))]


def find_price_change(
    model: str, at: datetime | None = None, location: str = GLOBAL_LOCATION
) -> Prices | None:
    """Return the prices of the next known price change after ``at``, by default now.

    ``Prices.on`` is the first day of the new prices. Returns None if no change is known.
    """
    when = at or datetime.now(UTC)
    current = find_prices(model, when, location)
    changes = (find_prices(model, start, location) for start in _list_change_dates(model, when))
    return next((prices for prices in changes if current and _differs(prices, current)), None)


def table_version() -> str:
    """Return the name and version of the price table; "" if it is not installed."""
    if _google_provider() is None:
        return ""
    import genai_prices

    return f"genai-prices {genai_prices.__version__}"


def to_dollars(picodollars: int) -> float:
    """Return an amount in USD."""
    return picodollars / PICODOLLARS_PER_DOLLAR


def to_picodollars(dollars: float | str) -> int:
    """Return an amount of USD in whole picodollars, rounded down.

    Raises ValueError for anything but a non-negative amount.
    """
    try:
        amount = int(Decimal(str(dollars)) * PICODOLLARS_PER_DOLLAR)
    except (ArithmeticError, ValueError):
        amount = -1
    if amount < 0:
        raise ValueError(f"{dollars!r} is not an amount of dollars")
    return amount


@cache
def _google_provider() -> "Provider | None":
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ModuleNotFoundError:
        return None
    return next(
        (provider for provider in get_snapshot().providers if provider.id == "google"), None
    )


def _find_model(provider: "Provider", name: str) -> "ModelInfo | None":
    """Return the model of exactly this name, apart from its version suffix.

    The library also matches names with the same beginning.
    """
    base_name = _VERSION_SUFFIX.sub("", name, count=1)
    for candidate in (name, base_name):
        info = provider.find_model(candidate)
        if info and _VERSION_SUFFIX.sub("", info.id, count=1) == base_name:
            return info
    return None


def _list_change_dates(model: str, after: datetime) -> list[datetime]:
    """Return the dates after ``after`` from which the table has other prices, in order."""
    provider, match = _google_provider(), _MODEL_NAME.fullmatch(model)
    info = _find_model(provider, match[1] or match[2]) if provider and match else None
    days = {_start_day(price) for price in _list_dated_prices(info)} if info else set()
    starts = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days if day]
    return sorted(start for start in starts if start > after)


def _list_dated_prices(info: "ModelInfo") -> list[Any]:
    dated = info.prices if isinstance(info.prices, list) else []
    return [*dated, *(info.price_variants or [])]


def _start_day(price: Any) -> date | None:
    return getattr(price.constraint, "start_date", None)


def _differs(prices: Prices | None, current: Prices) -> bool:
    return prices is not None and (prices.batch, prices.online) != (current.batch, current.online)


def _build_prices(info: "ModelInfo", at: datetime) -> Prices | None:
    online_prices = info.get_prices(at)
    if not _required_fields(info) <= _priced_fields(online_prices) <= _KNOWN_FIELDS:
        return None
    online = _read_online_tiers(online_prices)
    return Prices(
        model=_live_name(info),
        table=table_version(),
        checked=_verification_date(info, at),
        on=at.astimezone(UTC).date().isoformat(),
        batch=_build_rates(_read_batch_tiers(info, at, online)),
        online=_build_rates(online),
        context=info.context_window or 0,
    )


def _required_fields(info: "ModelInfo") -> set[str]:
    """Return the fields without which a price is unknown. Embeddings have no output."""
    return {"input_mtok"} if _EMBEDDING in info.id else {"input_mtok", "output_mtok"}


def _live_name(info: "ModelInfo") -> str:
    """Return the model's id in Vertex AI. The table has some under an earlier id."""
    model = find_model(info.id) or find_model(_VERSION_SUFFIX.sub("", info.id, count=1))
    return model.name if model else info.id


def _localize_prices(prices: Prices, location: str, at: datetime) -> Prices:
    """Return the prices of a location. Outside ``global`` newer models cost more."""
    if (
        location == GLOBAL_LOCATION
        or at < _SURCHARGE_START
        or _NO_SURCHARGE_MODELS.match(prices.model)
    ):
        return msgspec.structs.replace(prices, location=location)
    batch, online = map(_add_surcharge, prices.batch), map(_add_surcharge, prices.online)
    return msgspec.structs.replace(
        prices, location=location, batch=list(batch), online=list(online)
    )


def _add_surcharge(rate: Rate) -> Rate:
    """Return a rate that is 10 % higher, rounded up to whole picodollars."""
    return Rate(rate.above, {kind: -(-price * 11 // 10) for kind, price in rate.per_token.items()})


def _read_online_tiers(prices: object) -> _TiersByKind:
    fields = _priced_fields(prices)
    kinds = {kind: name for kind, name in _PRICE_FIELDS.items() if name in fields}
    return {kind: _price_tiers(getattr(prices, name)) for kind, name in kinds.items()}


def _read_batch_tiers(info: "ModelInfo", at: datetime, online: _TiersByKind) -> _TiersByKind:
    prices = info.get_prices(at, {"processing": "batch"})
    tiers = {name: _price_tiers(getattr(prices, name)) for name in _list_batch_fields(info, at)}
    return {
        kind: _batch_tiers(kind, steps, tiers.get(_PRICE_FIELDS[kind]))
        for kind, steps in online.items()
    }


def _priced_fields(prices: object) -> set[str]:
    return {name for name, value in vars(prices).items() if value is not None}


def _list_batch_fields(info: "ModelInfo", at: datetime) -> set[str]:
    return {
        name
        for variant in info.price_variants or []
        if _is_batch_variant(variant, at)
        for name in _priced_fields(variant.prices)
    }


def _is_batch_variant(variant: Any, at: datetime) -> bool:
    return variant.when == {"processing": "batch"} and (
        variant.constraint is None or variant.constraint.active(at)
    )


def _price_tiers(price: Any) -> dict[int, Decimal]:
    """Return USD per million tokens, by the input tokens above which they apply."""
    if isinstance(price, Decimal):
        return {0: price}
    return {0: price.base} | {tier.start: tier.price for tier in price.tiers}


def _batch_tiers(
    kind: str, online: dict[int, Decimal], batch: dict[int, Decimal] | None
) -> dict[int, Decimal]:
    """Return the batch price of a kind; derive it if the table has none."""
    if kind.startswith("cached"):
        return online
    return batch or {above: price / 2 for above, price in online.items()}


def _build_rates(tiers: _TiersByKind) -> list[Rate]:
    thresholds = sorted({above for kind in tiers.values() for above in kind})
    return [
        Rate(
            above,
            _fill_missing_kinds({kind: _price_at(step, above) for kind, step in tiers.items()}),
        )
        for above in thresholds
    ]


def _price_at(tiers: dict[int, Decimal], above: int) -> int:
    price = tiers[max(step for step in tiers if step <= above)]
    return int((price * 10**6).to_integral_value(ROUND_CEILING))


def _fill_missing_kinds(rates: dict[str, int]) -> dict[str, int]:
    rates.setdefault("output", 0)  # embeddings
    for kind, fallback in _FALLBACK_KINDS.items():
        rates.setdefault(kind, rates[fallback])
    return {kind: rates["output" if kind == "thoughts" else kind] for kind in TOKEN_KINDS}


def _verification_date(info: "ModelInfo", at: datetime) -> str:
    """Return the day on which the table verified the model's prices, or any prices."""
    today = at.astimezone(UTC).date().isoformat()
    model_dates = [day for day in _VERIFIED_ON.findall(info.price_comments or "") if day <= today]
    return max(
        model_dates or [day for day in _all_verification_dates() if day <= today],
        default="1970-01-01",
    )


@cache
def _all_verification_dates() -> tuple[str, ...]:
    provider = _google_provider()
    comments = " ".join(info.price_comments or "" for info in provider.models) if provider else ""
    return tuple(_VERIFIED_ON.findall(comments))
