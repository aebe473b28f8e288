"""What a run cost is what its answers used, whatever went wrong, and never more than it may."""

import msgspec
import pytest

from promptmill.producers import Promptmill, Result
from promptmill.producers.pricing.prices import Prices, find_prices
from support.local_stack import MODEL, LocalStack, done


@pytest.fixture(scope="module")
def prices() -> Prices:
    found = find_prices(MODEL)
    assert found
    return found


def used(results: list[Result], kind: str) -> int:
    return sum(int(result.usage.get(kind, 0)) for result in results)


def asked(text: str, answer: int = 1024) -> dict[str, object]:
    parts = [{"text": text}]
    return {
        "request": {
            "contents": [{"role": "user", "parts": parts}],
            "generationConfig": {"maxOutputTokens": answer},
        }
    }


def test_a_run_of_several_jobs_costs_what_the_emulator_billed(
    mill: Promptmill, stack: LocalStack, prices: Prices
) -> None:
    """5,000 rows are three jobs of several parts each; some rows fail at first, and some answers come twice, or keyless."""
    stack.fault("output", "error", code=503, share=0.1)
    stack.fault("output", "duplicated", count=20, where="other")
    stack.fault("output", "keyless", share=0.1)
    prompts = [asked(f"Say hello to number {number}, please.") for number in range(5000)]

    run = mill.submit(prompts, model=MODEL, labels={"suite": "costs"})
    assert done(run).state == "succeeded"

    cost, results, rate = run.report().cost, list(run.results()), prices.batch[0].per_token
    assert cost and cost.usd is not None and cost.online_usd is not None
    assert cost.billed == {
        "input": used(results, "promptTokenCount"),
        "output": used(results, "candidatesTokenCount"),
        "thoughts": used(results, "thoughtsTokenCount"),
    }
    assert cost.usd == pytest.approx(
        sum(rate[kind] * count for kind, count in cost.billed.items()) / 10**12, rel=1e-12
    )
    assert cost.online_usd == pytest.approx(2 * cost.usd)
    assert sum(job["requests"] for job in stack.jobs(run.id)) == 5000
    assert run.status.cost == cost
    assert cost.estimate and cost.estimate.usd_most and cost.usd <= cost.estimate.usd_most
    assert cost.estimate == msgspec.structs.replace(
        mill.estimate(prompts, model=MODEL), jobs=cost.estimate.jobs
    )
    assert [total.of for total in mill.costs("label") if total.of == "suite=costs"]


def test_a_run_that_could_cost_too_much_is_refused_and_nothing_is_paid_for(
    mill: Promptmill, stack: LocalStack
) -> None:
    before = stack.billed()

    run = mill.submit(
        [asked("hello", answer=60_000) for _ in range(100)], model=MODEL, max_cost_usd=1
    )
    status = done(run)

    assert status.state == "failed" and "could cost up to $11." in status.error
    assert status.cost and status.cost.over_budget and status.cost.usd == 0.0
    assert (stack.jobs(run.id), stack.billed()) == ([], before)


def test_the_command_line_exits_with_7_for_a_run_over_budget_or_without_a_price(
    stack: LocalStack,
) -> None:
    over = stack.cli(
        "submit", "--prompt", "hello", "--model", MODEL, "--max-cost-usd", "0.01", "--wait"
    )
    unknown = stack.cli(
        "submit",
        "--prompt",
        "hello",
        "--model",
        "gemini-unheard-of",
        "--max-cost-usd",
        "1",
        "--wait",
    )

    assert over.returncode == 7 and "Lower maxOutputTokens" in over.stderr
    assert unknown.returncode == 7 and "price of gemini-unheard-of is unknown" in unknown.stderr


def test_a_run_within_its_limit_goes_its_way_and_retries_stay_within_it(
    mill: Promptmill, stack: LocalStack
) -> None:
    stack.fault("output", "error", code=503, share=0.3)
    prompts = [asked(f"Say hello to number {number}.") for number in range(200)]
    most = mill.estimate(prompts, model=MODEL).usd_most
    assert most

    run = mill.submit(prompts, model=MODEL, max_cost_usd=round(most, 6) + 1e-6)
    status = done(run)

    assert status.state == "succeeded" and status.jobs == 2
    assert (
        status.cost
        and status.cost.usd
        and status.cost.limit_usd
        and status.cost.usd <= status.cost.limit_usd
    )
