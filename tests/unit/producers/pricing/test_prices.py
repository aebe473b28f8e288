"""What a model costs: in batch jobs, on a day, to the picodollar; and nothing at all where that is not known."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers.models.model_table import MODELS, Stage
from promptmill.producers.pricing import prices
from promptmill.producers.pricing.prices import (
    TOKEN_KINDS,
    Prices,
    find_price_change,
    find_prices,
    list_prices,
    to_dollars,
    to_picodollars,
)

TODAY = datetime(2026, 11, 24, tzinfo=UTC)
ALL = list_prices(TODAY)


def flash(at: datetime = TODAY) -> Prices:
    found = find_prices("gemini-3.8-flash", at)
    assert found
    return found


def test_a_batch_job_costs_half_of_what_online_does() -> None:
    """Also of models whose batch price the table does not have, such as 3.7 Flash: it would give the full price."""
    for name in ("gemini-3.8-flash", "gemini-3.7-flash", "gemini-3.5-flash", "gemini-2.5-pro"):
        found = find_prices(name, TODAY)
        assert found
        for batch, online in zip(found.batch, found.online, strict=True):
            for kind in ("input", "output", "thoughts"):
                assert batch.per_token[kind] * 2 == online.per_token[kind]


def test_prices_are_those_of_googles_page() -> None:
    of = flash().batch[0].per_token

    assert (of["input"], of["output"], of["thoughts"]) == (
        375_000,
        1_875_000,
        1_875_000,
    )  # $0.375, $1.875 a million


def test_cached_tokens_cost_what_they_cost_online_as_discounts_do_not_stack() -> None:
    for model in ALL:
        for batch, online in zip(model.batch, model.online, strict=True):
            assert batch.per_token["cached"] in (
                online.per_token["cached"],
                batch.per_token["input"],
            )
            assert batch.per_token["cached"] <= batch.per_token["input"]


def test_a_price_changes_on_its_day() -> None:
    before, after = (
        flash(datetime(2026, 12, 31, 23, tzinfo=UTC)),
        flash(datetime(2027, 1, 1, tzinfo=UTC)),
    )

    assert after.batch[0].per_token["output"] == 2 * before.batch[0].per_token["output"]
    assert (before.on, after.on) == ("2026-12-31", "2027-01-01")


def test_a_day_before_the_table_knew_batch_prices_is_not_dearer() -> None:
    assert flash(datetime(2026, 9, 1, tzinfo=UTC)).batch == flash().batch


def test_long_requests_cost_more() -> None:
    found = find_prices("gemini-2.5-pro", TODAY)

    assert found and found.thresholds == [0, 200_000]
    assert found.batch[1].per_token["input"] == 2 * found.batch[0].per_token["input"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("publishers/google/models/gemini-3.8-flash", "gemini-3.8-flash"),
        (
            "projects/acme/locations/global/publishers/google/models/gemini-2.5-flash",
            "gemini-2.5-flash",
        ),
        ("gemini-2.5-flash-001", "gemini-2.5-flash"),
        ("gemini-2.5-flash@001", "gemini-2.5-flash"),
        ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini-3.1-pro-preview", "gemini-3.1-pro-preview"),
        ("gemini-3.1-flash-image-preview", "gemini-3.1-flash-image"),
        ("gemini-embedding-2-preview", "gemini-embedding-2"),
    ],
)
def test_a_model_is_known_by_all_its_names(name: str, model: str) -> None:
    found = find_prices(name, TODAY)

    assert found and found.model == model


@pytest.mark.parametrize(
    "name",
    [
        "gemini-fake",
        "gemini-3.8-flash-lite",  # begins like 3.8 Flash, which is another model
        "gemini-3.8-flash-tts",
        "projects/acme/locations/here/models/1234567890",
        "projects/acme/locations/here/models/gemini-3.8-flash",
        "publishers/anthropic/models/claude-sonnet-4-5",
        "claude-sonnet-4-5",
        "gpt-5",
        "",
    ],
)
def test_what_is_not_known_has_no_price(name: str) -> None:
    assert find_prices(name, TODAY) is None


def test_nothing_is_known_without_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_google_provider", lambda: None)

    assert (find_prices("gemini-3.8-flash"), list_prices(), prices.table_version()) == (
        None,
        [],
        "",
    )


def test_every_known_model_has_a_price_of_each_kind_and_an_age() -> None:
    assert len(ALL) >= 10
    for model in ALL:
        assert all(
            set(rate.per_token) == set(TOKEN_KINDS)
            and all(
                price > 0
                or (kind.startswith(("output", "thoughts")) and "embedding" in model.model)
                for kind, price in rate.per_token.items()
            )
            for rate in model.batch
        )
        assert model.thresholds == sorted(set(model.thresholds)) and model.thresholds[0] == 0
        assert (
            model.age_in_days(TODAY.date())
            == (TODAY.date() - date.fromisoformat(model.checked)).days
        )
        assert 0 <= model.age_in_days(TODAY.date()) < 365
        again = find_prices(model.model, TODAY)
        assert again == model


@given(st.integers(0, 10**18))
def test_an_amount_survives_being_shown_in_dollars(amount: int) -> None:
    assert abs(to_picodollars(to_dollars(amount)) - amount) <= amount / 10**15


@pytest.mark.parametrize(
    ("text", "amount"), [(50, 50 * 10**12), ("0.01", 10**10), (0.1, 10**11), ("1e-13", 0)]
)
def test_dollars_are_read_exactly(text: float | str, amount: int) -> None:
    assert to_picodollars(text) == amount


@pytest.mark.parametrize("text", ["x", "", -1, float("nan"), float("inf")])
def test_what_is_no_amount_is_refused(text: float | str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        to_picodollars(text)


@given(
    st.sampled_from(ALL),
    st.dictionaries(st.sampled_from(TOKEN_KINDS), st.integers(0, 10**9)),
    st.integers(1, 5),
)
def test_costs_add_up_to_the_picodollar(model: Prices, tokens: dict[str, int], times: int) -> None:
    rate = model.batch[-1]

    assert sum(rate.calculate_cost(tokens) for _ in range(times)) == rate.calculate_cost(
        {kind: n * times for kind, n in tokens.items()}
    )


def per_million(found: Prices | None, kind: str = "output") -> float:
    assert found
    return found.batch[0].per_token[kind] / 10**6


@pytest.mark.parametrize("location", ["eu", "us", "us-central1"])
def test_gemini_3_costs_ten_percent_more_outside_global(location: str) -> None:
    """In batch jobs and online, from the day that Google's pricing page names."""
    there = find_prices("gemini-3.8-flash", TODAY, location)

    assert there and there.location == location and flash().location == "global"
    assert per_million(there) == 2.0625 and there.online[0].per_token["input"] == 825_000
    before = datetime(2026, 6, 30, 23, tzinfo=UTC)
    early = find_prices("gemini-3.5-flash", before, location)
    assert early and early.batch[0].per_token["input"] == 750_000


@pytest.mark.parametrize("name", ["gemini-2.5-flash", "gemini-2.5-flash-image"])
def test_older_models_cost_the_same_everywhere(name: str) -> None:
    found, there = find_prices(name, TODAY), find_prices(name, TODAY, "us-central1")

    assert found and there and (found.batch, found.online) == (there.batch, there.online)


@given(st.sampled_from(ALL), st.sampled_from(["eu", "us", "europe-west4"]))
def test_no_location_is_below_the_global_price_or_over_ten_percent_above(
    model: Prices, location: str
) -> None:
    there = find_prices(model.model, TODAY, location)

    assert there
    for here, local in zip(model.batch + model.online, there.batch + there.online, strict=True):
        for kind, price in here.per_token.items():
            assert 10 * price <= 10 * local.per_token[kind] <= 11 * price + 10


def test_an_embedding_costs_its_input_and_no_output() -> None:
    older, newer = (find_prices(f"gemini-embedding-{n}", TODAY) for n in ("001", "2"))

    assert [per_million(found, "input") for found in (older, newer)] == [0.075, 0.1]
    assert [per_million(found) for found in (older, newer)] == [0, 0]
    assert newer and newer.batch[0].highest_input_price == 6_000_000  # video


@pytest.mark.parametrize(
    ("model", "on", "usd", "day", "later"),
    [
        ("gemini-4-argon", "2026-11-29", 5, "2026-12-01", 10),
        ("gemini-3.8-flash", "2026-12-30", 1.875, "2027-01-01", 3.75),
        ("gemini-3.6-flash", "2026-10-01", 1.875, "2027-01-01", 3.75),
    ],
)
def test_the_next_price_and_its_day_are_known(
    model: str, on: str, usd: float, day: str, later: float
) -> None:
    at = datetime.fromisoformat(f"{on}T12:00:00+00:00")
    change = find_price_change(model, at)

    assert per_million(find_prices(model, at)) == usd
    assert change and (change.on, per_million(change)) == (day, later)
    assert find_price_change(model, datetime(2027, 1, 1, tzinfo=UTC)) is None


def test_a_model_of_unknown_price_has_no_coming_price() -> None:
    assert find_price_change("gemini-fake", TODAY) is None
    assert find_price_change("publishers/anthropic/models/claude", TODAY) is None


def test_listed_prices_are_those_of_the_current_models_of_the_table() -> None:
    """Retired models are not listed; names are those that Vertex AI accepts today."""
    today = TODAY.date().isoformat()
    current = {name for name, model in MODELS.items() if model.stage is not Stage.retired}

    assert {found.model for found in ALL} == current
    assert not [name for name in current if (retires := MODELS[name].retires) and retires <= today]
    later = datetime(2027, 9, 2, tzinfo=UTC)
    assert "gemini-3.8-flash" not in {found.model for found in list_prices(later)}


def test_a_stored_rate_prices_kinds_that_are_newer_than_it() -> None:
    assert prices.Rate(0, {"input": 3, "output": 5}).calculate_cost({"input_video": 2}) == 6
