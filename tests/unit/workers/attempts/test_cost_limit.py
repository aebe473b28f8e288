"""A run never costs more than it may, whatever fails and however often; and none is paid for that could."""

import random
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.config.errors import OverBudget
from promptmill.producers.contract.messages import ChunkSize, Seal, Signature
from promptmill.producers.pricing.prices import (
    PICODOLLARS_PER_DOLLAR,
    TOKEN_KINDS,
    Prices,
    Rate,
    to_dollars,
)
from promptmill.producers.pricing.tokens import TokenTotals
from promptmill.workers import steps
from promptmill.workers.costs.plan_cost import (
    effective_limit,
    format_usd,
    max_shard_tokens,
    plan_run_cost,
)
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Plan, ShardPlan
from promptmill.workers.fakes import FakeJobs, Script
from promptmill.workers.fakes.output import make_response
from support.fake_pipeline import MODEL, RUN, FakePipeline

QUOTA = 'Too Many Requests: {"error": {"code": 429}}'
PER_TOKEN = 10**6  # a dollar for a million tokens of any kind


def prices(times: int = 1) -> Prices:
    rates = [Rate(0, dict.fromkeys(TOKEN_KINDS, times * PER_TOKEN))]
    return Prices(
        MODEL,
        "a table",
        "2026-11-01",
        "2026-11-24",
        rates,
        [Rate(0, dict.fromkeys(TOKEN_KINDS, 2 * PER_TOKEN))],
    )


def known(model: str, at: datetime) -> Prices:
    return prices()


def prompt(text: str, answer: int = 100) -> dict[str, Any]:
    return {
        "request": {
            "contents": [{"role": "user", "parts": [{"text": text}]}],
            "generationConfig": {"maxOutputTokens": answer},
        }
    }


def greedy(request: dict[str, Any]) -> dict[str, Any]:
    """Answer with as many tokens as are allowed, to a prompt that has as many as it can."""
    text = request["contents"][0]["parts"][0]["text"]
    allowed = request["generationConfig"]["maxOutputTokens"]
    whole = make_response(f"about {text}")
    whole["usageMetadata"] = {
        "promptTokenCount": len(msgspec.json.encode(request)),
        "candidatesTokenCount": allowed,
    }
    if "cut" in text:
        whole["candidates"][0]["finishReason"] = "MAX_TOKENS"
    return whole


def pipeline(limit: float, script: Script | None = None, **options: Any) -> FakePipeline:
    made = FakePipeline(
        max_cost_usd=limit, find_prices=known, max_attempts=3, script=script or Script(), **options
    )
    made.jobs = FakeJobs(made.bucket, greedy, script=made.script, clock=made.clock)
    return made


def bound(prompts: list[dict[str, Any]], **options: Any) -> float:
    """What the first attempts could cost at most."""
    open_ = pipeline(10**6, **options)
    open_.send(prompts)
    steps.plan.plan(open_.folder(), 10, 1 << 24, find_prices=known)
    money = open_.folder().plan.get().money
    assert money
    return to_dollars(sum(money.most))


def test_who_is_called_at_the_end_is_told_the_cost() -> None:
    made = pipeline(1, link=[[Signature("shop.notify")]])

    report = made.drive(made.send([prompt("say 1")]))

    assert report.cost and report.cost.usd
    assert [call.args[0]["cost_usd"] for call in made.caller.sent] == [report.cost.usd]


def test_a_run_that_could_cost_too_much_is_refused_before_anything_is_paid() -> None:
    prompts = [prompt(f"say {number}") for number in range(10)]
    too_little = pipeline(bound(prompts) * 0.99)

    report = too_little.drive(too_little.send(prompts))

    assert (report.state, report.jobs, len(too_little.jobs.requests)) == ("failed", 0, 0)
    assert report.cost and report.cost.over_budget and report.cost.usd == 0.0
    assert "could cost up to" in report.error and "maxOutputTokens" in report.error


def test_a_run_that_cannot_cost_too_much_goes_on_even_if_it_uses_all_of_it() -> None:
    prompts = [prompt(f"say {number}") for number in range(10)]
    enough = pipeline(bound(prompts))

    report = enough.drive(enough.send(prompts))

    assert report.state == "succeeded"
    assert report.cost and report.cost.usd == pytest.approx(bound(prompts))
    assert report.cost.limit_usd == pytest.approx(bound(prompts)) and not report.cost.over_budget


def test_a_run_whose_price_is_not_known_is_refused_when_it_has_a_limit() -> None:
    unknown = pipeline(1000.0)
    unknown.find_prices = lambda model, at: None

    report = unknown.drive(unknown.send([prompt("a")]))

    assert (report.state, report.jobs) == ("failed", 0)
    assert "price of gemini-fake is unknown" in report.error


def test_without_a_limit_an_unknown_price_is_no_obstacle_and_not_nothing() -> None:
    free = pipeline(0.0)
    free.find_prices = lambda model, at: None

    report = free.drive(free.send([prompt("a")]))

    assert report.state == "succeeded"
    assert report.cost and report.cost.usd is None and report.cost.billed["output"] == 100


def test_a_price_that_will_rise_before_the_job_is_done_counts() -> None:
    prompts = [prompt("a")]
    rising = pipeline(bound(prompts) * 1.5)
    rising.find_prices = lambda model, at: prices(
        1 if at.timestamp() < records.current_time() + 86_400 else 2
    )

    assert rising.drive(rising.send(prompts)).state == "failed"


def test_rows_whose_next_attempt_could_cost_too_much_are_over_budget() -> None:
    """The answers were cut off: what they cost is paid for, and another with more tokens does not fit any more."""
    prompts = [prompt(f"cut {number}", answer=100) for number in range(5)]
    tight = pipeline(bound(prompts), retry_max_tokens=1000)

    report = tight.drive(tight.send(prompts))

    assert (report.state, report.jobs, report.failures) == ("failed", 1, {"OVER_BUDGET": 5})
    assert report.cost and report.cost.over_budget
    assert "attempt 2 could cost" in report.error
    assert all(
        result.error and "max_cost_usd" in result.error.message for result in tight.results(RUN)
    )


def test_answers_that_do_not_fit_their_schema_are_paid_for_and_the_schema_is_a_part_of_every_request() -> (
    None
):
    prompts = [prompt(f"say {number}") for number in range(5)]
    stars = {"type": "object", "properties": {"stars": {"type": "integer"}}}
    schema: dict[str, Any] = {"response_schema": stars, "retry_schema_invalid": True}
    limit = bound(prompts, **schema)
    tight = pipeline(limit, **schema)

    report = tight.drive(tight.send(prompts))

    assert (report.jobs, report.failures) == (1, {"OVER_BUDGET": 5})
    assert report.cost and report.cost.usd == limit > bound(prompts)


def test_rows_that_cost_nothing_are_tried_again_within_the_same_limit() -> None:
    prompts = [prompt(f"say {number}") for number in range(5)]
    unlucky = pipeline(bound(prompts), Script(seed=None, statuses={0: QUOTA, 3: QUOTA}))

    def mended(request: dict[str, Any]) -> dict[str, Any]:
        unlucky.jobs.script = Script(seed=None)
        return greedy(request)

    unlucky.jobs = FakeJobs(unlucky.bucket, mended, script=unlucky.script, clock=unlucky.clock)

    report = unlucky.drive(unlucky.send(prompts))

    assert (report.state, report.jobs) == ("succeeded", 2)


def test_the_lower_of_two_limits_counts() -> None:
    assert effective_limit(0.0, 0.0) == 0
    assert (
        effective_limit(2.0, 0.0)
        == effective_limit(0.0, 2.0)
        == effective_limit(2.0, 3.0)
        == effective_limit(3.0, 2.0)
        == 2 * PICODOLLARS_PER_DOLLAR
    )


def test_a_seal_without_tokens_is_no_ground_for_a_promise() -> None:
    old = Seal([ChunkSize(1, 10)])

    assert plan_run_cost(MODEL, old, [], 0, known, 0.0).estimate is None
    with pytest.raises(OverBudget, match="Upgrade the producers"):
        plan_run_cost(MODEL, old, [], PICODOLLARS_PER_DOLLAR, known, 0.0)


def test_what_a_worker_of_old_did_to_a_run_with_a_limit_is_not_paid_for() -> None:
    """It passes over the limit in the manifest; nothing holds a run to it that no plan has shared out."""
    old = pipeline(1000.0)
    run = old.send([prompt("a")])
    old.folder(run).plan.create(Plan([ShardPlan(1, 1, 0, 0)], 0.0))

    report = old.drive(run)

    assert (report.state, report.jobs, report.failures) == ("failed", 0, {"OVER_BUDGET": 1})
    assert "Upgrade all workers" in report.error


def test_a_later_attempt_whose_input_was_not_counted_is_not_made() -> None:
    prompts = [prompt("say")]
    failing = pipeline(bound(prompts) * 10, Script(statuses={0: QUOTA}))
    run = failing.send(prompts)
    while not (due := failing.due(run)) or due[0].task != "submit" or due[0].indices[1] == 1:
        for step in due:
            failing.do(step)
    fact = failing.folder(run).attempt(0, 2).input
    counted = fact.get()
    failing.bucket.delete(fact.name)
    fact.create(msgspec.structs.replace(counted, tokens=None))

    report = failing.drive(run)

    assert counted.tokens and counted.tokens.named == 100
    assert (report.jobs, report.failures) == (1, {"OVER_BUDGET": 1})


def test_a_plan_that_is_there_stands_whatever_the_limit_is_now() -> None:
    there = pipeline(0.0)
    there.send([prompt("a")])
    made = steps.plan.plan(there.folder(), 10, 1 << 24, find_prices=known)

    assert steps.plan.plan(there.folder(), 10, 1 << 24, 1e-9, known) == made


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["say", "cut"]), st.integers(1, 300)), min_size=1, max_size=12
    ),
    st.lists(st.integers(0, 11), max_size=6),
    st.lists(st.integers(0, 11), max_size=3),
    st.floats(0.5, 3.0),
    st.integers(1, 12),
    st.integers(0, 2**32),
)
def test_no_run_costs_more_than_it_may(
    rows: list[tuple[str, int]],
    failing: list[int],
    missing: list[int],
    share: float,
    per_job: int,
    seed: int,
) -> None:
    """Whatever fails, whoever is asked how often, and in whatever order; shards that divide a chunk are among them."""
    prompts = [prompt(f"{word} {number}", answer) for number, (word, answer) in enumerate(rows)]
    limit = bound(prompts) * share
    script = Script(statuses=dict.fromkeys(failing, QUOTA), missing=frozenset(missing))
    run = pipeline(limit, script, retry_max_tokens=400, max_requests=per_job, chunk_bytes=600)

    report = run.drive(run.send(prompts), order=random.Random(seed))

    assert report.cost and report.cost.usd is not None
    assert report.cost.usd <= limit * (1 + 1e-12)
    assert report.unaccounted == 0
    if report.cost.over_budget:
        assert report.state in ("failed", "partially_succeeded")


sizes = st.lists(
    st.tuples(st.integers(1, 20), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8
)


@given(sizes, st.integers(1, 30))
def test_shards_are_never_said_to_need_less_than_their_chunks(
    chunks: list[tuple[int, int, int]], per_job: int
) -> None:
    tokens = [
        TokenTotals(
            sent=requests,
            most=requests * most,
            largest=most,
            named=requests * answer,
            longest=answer,
        )
        for requests, most, answer in chunks
    ]
    seal = Seal([ChunkSize(requests, 10) for requests, _, _ in chunks], tokens)
    whole = sum(tokens, TokenTotals())

    said = [
        max_shard_tokens(shard, seal)
        for shard in steps.plan.divide_chunks(seal.chunks, per_job, 10**9)
    ]

    assert (
        sum(one.most for one in said) == whole.most
    )  # of requests that are all alike nothing is said twice
    assert sum(one.max_output_tokens for one in said) == whole.max_output_tokens


def test_a_piece_of_a_chunk_is_bounded_by_its_largest_rows() -> None:
    seal = Seal(
        [ChunkSize(10, 100)], [TokenTotals(sent=10, most=1000, largest=910, named=100, longest=10)]
    )

    piece = max_shard_tokens(ShardPlan(1, 2, 0, 0), seal)

    assert (piece.most, piece.named) == (1000, 20)


def test_an_amount_is_never_shown_as_less() -> None:
    assert format_usd(1) == "$0.0001"
    assert format_usd(0) == "$0.0000"
    assert format_usd(3 * PICODOLLARS_PER_DOLLAR // 2) == "$1.50"
    assert format_usd(2 * PICODOLLARS_PER_DOLLAR + 1) == "$2.01"


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 11), max_size=5),
    st.lists(st.integers(0, 11), max_size=5),
    st.lists(st.integers(0, 11), max_size=3),
    st.integers(0, 2**32),
)
def test_a_cost_is_what_was_paid_however_output_is_divided(
    failing: list[int], duplicated: list[int], unkeyed: list[int], seed: int
) -> None:
    """A row that is answered twice is paid for once, in one part or in two, with its key or without."""
    prompts = [prompt(f"{'cut' if number % 3 else 'say'} {number}") for number in range(12)]
    script = Script(
        statuses=dict.fromkeys(failing, QUOTA),
        duplicated=frozenset(duplicated) - set(unkeyed),
        unkeyed=frozenset(unkeyed),
        seed=seed,
    )
    for part_bytes in (1 << 20, 1500):
        paid: list[int] = []

        def billed(request: dict[str, Any], paid: list[int] = paid) -> dict[str, Any]:
            usage = (whole := greedy(request))["usageMetadata"]
            paid.append(usage["promptTokenCount"] + usage["candidatesTokenCount"])
            return whole

        run = pipeline(0.0, script, retry_max_tokens=150, part_bytes=part_bytes)
        run.jobs = FakeJobs(run.bucket, billed, script=script, clock=run.clock)
        report = run.drive(run.send(prompts))

        assert report.cost and report.cost.usd == to_dollars(sum(paid) * PER_TOKEN)
