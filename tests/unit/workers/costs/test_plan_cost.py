"""The workers' view of a run's cost: their location, and prices that change while a job waits."""

from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.simulation.celery_app import Tasks
from promptmill.config.errors import OverBudget
from promptmill.producers import Promptmill
from promptmill.producers.contract.messages import ChunkSize, Seal
from promptmill.producers.pricing.estimate import estimate_run
from promptmill.producers.pricing.prices import Prices, find_prices, to_picodollars
from promptmill.producers.pricing.tokens import MAX_INPUT_TOKENS, RequestTokens, sum_tokens
from promptmill.workers import steps
from promptmill.workers.costs.plan_cost import PlanCost, plan_run_cost
from promptmill.workers.costs.usage import run_cost
from promptmill.workers.facts.records import ShardPlan
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

MODEL = "publishers/google/models/gemini-3.1-flash-lite"
PROMPTS: list[Any] = [
    {
        "request": {
            "contents": [{"role": "user", "parts": [{"text": f"say {number}"}]}],
            "generationConfig": {"maxOutputTokens": 1000},
        }
    }
    for number in range(100)
]


def plan_run(location: str, max_cost_usd: float = 0.0) -> FakePipeline:
    """Run the real task ``plan`` with the settings of a worker in a location."""
    pipeline = FakePipeline()
    for message in pipeline.messages(PROMPTS):
        manifest = msgspec.structs.replace(message.run, model=MODEL, max_cost_usd=max_cost_usd)
        steps.ingest.ingest(pipeline.bucket, msgspec.structs.replace(message, run=manifest))
    worker, tasks = FakeWorker(pipeline, {"location": location}), Tasks()
    tasks.bind(lambda: worker.services, lambda *_, **__: None, lambda _: 0)
    tasks.run("promptmill.plan", [RUN], f"{RUN}.plan", 0)
    return pipeline


def plan_cost_in(location: str) -> PlanCost:
    money = plan_run(location).folder().plan.get().money
    assert money
    return money


def test_a_run_is_planned_at_the_prices_of_the_workers_location() -> None:
    here, there = plan_cost_in("global"), plan_cost_in("eu")

    assert here.prices and there.prices and here.estimate and there.estimate
    assert (here.prices.location, there.prices.location) == ("global", "eu")
    assert there.estimate.usd == pytest.approx(1.1 * (here.estimate.usd or 0), rel=1e-9)
    assert there.estimate.location == run_cost(there, {}, over_budget=False).location == "eu"


def test_a_limit_that_the_surcharge_exceeds_refuses_the_run() -> None:
    """The producer estimated for ``global``; the workers' location costs 10 % more."""
    most = Promptmill(location="global").estimate(PROMPTS, model=MODEL).usd_most
    assert most
    most += 1e-9

    assert plan_run("global", most).folder().plan.get().shards
    assert not plan_run("eu", most).folder().plan.get().shards


def test_the_producer_estimates_for_its_own_location() -> None:
    here, there = (
        Promptmill(location=location).estimate(PROMPTS, model=MODEL)
        for location in ("global", "eu")
    )

    assert (here.location, there.location) == ("global", "eu")
    assert there.usd_most == pytest.approx(1.1 * (here.usd_most or 0), rel=1e-9)


@pytest.mark.parametrize(
    ("model", "day"), [("gemini-4-argon", "2026-12-01"), ("gemini-3.8-flash", "2027-01-01")]
)
@pytest.mark.parametrize("hours", [1, 48, 96])
def test_a_price_that_rises_while_the_job_may_run_counts_from_the_start(
    model: str, day: str, hours: int
) -> None:
    """A job may wait for 72 hours and run for 24. The higher price decides."""
    start = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(hours=hours)
    before, after = (
        find_prices(model, start),
        find_prices(model, datetime.fromisoformat(day + "T00:00:00+00:00")),
    )
    tokens = sum_tokens([RequestTokens(text=100, most=1000, answer=1000)])
    seal = Seal([ChunkSize(1, 1000)], [tokens])
    shards = [ShardPlan(1, 1, 0, 0)]
    assert before and after

    def plan_with(usd: float) -> PlanCost:
        limit = to_picodollars(usd)
        return plan_run_cost(model, seal, shards, limit, find_prices, start.timestamp())

    needed = after.batch[0].calculate_cost({"input": 1000, "output": 1000})
    assert plan_with(needed / 10**12).most == [needed]
    assert plan_with(needed / 10**12).prices == before
    with pytest.raises(OverBudget):
        plan_with((needed - 1) / 10**12)


def test_a_price_that_rises_after_the_job_must_have_ended_does_not_count() -> None:
    start = datetime(2026, 11, 20, tzinfo=UTC)
    tokens = sum_tokens([RequestTokens(text=100, most=1000, answer=1000)])
    seal = Seal([ChunkSize(1, 1000)], [tokens])
    limit = to_picodollars("0.1")

    money = plan_run_cost(
        "gemini-4-argon", seal, [ShardPlan(1, 1, 0, 0)], limit, find_prices, start.timestamp()
    )

    assert money.most == [1000 * 10**6 + 1000 * 5 * 10**6]


FIRST_DAY = datetime(2026, 11, 20, tzinfo=UTC)
requests = st.builds(
    RequestTokens,
    text=st.integers(0, 400_000),
    most=st.integers(0, MAX_INPUT_TOKENS),
    images=st.integers(0, 3),
    seconds=st.integers(0, 60),
    answer=st.integers(0, 65_536),
    open=st.booleans(),
    thoughts=st.integers(0, 900),
)


@given(
    st.lists(st.lists(requests, min_size=1, max_size=5), min_size=1, max_size=4),
    st.sampled_from(["gemini-4-argon", "gemini-3.8-flash", "gemini-2.5-pro"]),
    st.integers(0, 51 * 24).map(lambda hours: FIRST_DAY + timedelta(hours=hours)),
    st.sampled_from(["global", "eu"]),
)
def test_workers_plan_what_an_estimate_of_the_same_day_and_location_allows(
    chunks: list[list[RequestTokens]], model: str, at: datetime, location: str
) -> None:
    """Also in the days before a price rises, and however many shards there are."""
    counted = [(ChunkSize(len(rows), 1000), sum_tokens(rows)) for rows in chunks]
    now, later = (find_prices(model, at + wait, location) for wait in (timedelta(), timedelta(5)))
    made = estimate_run(counted, model, now, 10**6, 10**9, later)
    assert made.usd_most is not None

    def find(model: str, at: datetime) -> Prices | None:
        return find_prices(model, at, location)

    seal = Seal([size for size, _ in counted], [tokens for _, tokens in counted])
    ends = [0, *accumulate(size.requests for size in seal.chunks)]
    shards = [ShardPlan(ends[n] + 1, len(rows), n, n) for n, rows in enumerate(chunks)]
    limit = to_picodollars(made.usd_most * (1 + 1e-9) + 1e-9)
    money = plan_run_cost(model, seal, shards, limit, find, at.timestamp())
    assert sum(money.most) <= limit
    assert money.estimate == msgspec.structs.replace(made, jobs=len(shards))
