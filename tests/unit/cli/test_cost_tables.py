"""Amounts for people: never nothing where it is not known, and never rounded to nothing."""

import json
from datetime import UTC, datetime
from math import isclose
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from promptmill.cli import cost_tables, exit_codes
from promptmill.cli.app import app
from promptmill.producers.contract.status import RunStatus
from promptmill.producers.models.model_table import MODELS
from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.estimate import Estimate
from promptmill.producers.pricing.prices import find_price_change
from promptmill.producers.pricing.totals import GroupBy, RunCost, group_costs, sum_costs

GUESS = Estimate(3, 0, 100, 400, 768, 9000, usd=0.5, usd_least=0.1, usd_most=2.0, online_usd=1.0)
SPENT = Cost(
    usd=0.25,
    online_usd=0.5,
    by_kind={"input": 0.1, "thoughts": 0.15},
    billed={"input": 90, "cached": 5, "thoughts": 12, "output": 30, "input>200000": 1},
    estimate=GUESS,
    table="a table",
    checked="2026-10-14",
)


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, "unknown"),
        (0.0, "$0.00"),
        (1234.567, "$1,234.57"),
        (0.5, "$0.500"),
        (0.00048075, "$0.000481"),
        (8e-7, "$0.000000800"),
    ],
)
def test_an_amount_is_shown_as_precisely_as_it_matters(usd: float | None, text: str) -> None:
    assert cost_tables.format_usd(usd) == text


@given(st.floats(1e-12, 1e9))
def test_no_amount_is_rounded_to_nothing(usd: float) -> None:
    assert isclose(
        float(cost_tables.format_usd(usd).replace("$", "").replace(",", "")), usd, rel_tol=0.01
    )


def test_the_cost_of_a_run_stands_beside_what_was_expected() -> None:
    assert str(SPENT) == "$0.250 (estimated $0.500, at most $2.00, online $0.500)"
    assert str(Cost(estimate=GUESS)) == "unknown (estimated $0.500, at most $2.00)"
    assert str(Cost(limit_usd=5.0)) == "unknown; limit $5.00"
    assert {"what": "price", "estimate": "$0.500", "actual": "$0.250"} in cost_tables.cost_rows(
        SPENT
    )
    assert {"what": "input tokens", "estimate": "100", "actual": "96"} in cost_tables.cost_rows(
        SPENT
    )
    assert {
        "what": "price of thoughts tokens",
        "estimate": "",
        "actual": "$0.150",
    } in cost_tables.cost_rows(SPENT)


def test_a_run_that_its_limit_cut_short_has_an_exit_code_of_its_own() -> None:
    over = RunStatus(
        "r", "partially_succeeded", cost=msgspec.structs.replace(SPENT, over_budget=True)
    )

    assert exit_codes.code_for_status(over) == 7
    assert exit_codes.code_for_status(RunStatus("r", "partially_succeeded", cost=SPENT)) == 3
    assert exit_codes.code_for_status(RunStatus("r", "failed")) == 4


def bill(
    day: int, *, usd: float | None = 1.0, done: bool = True, model: str = "gemini-a", **labels: str
) -> RunCost:
    created = datetime(2026, 11, day, 23, 59, tzinfo=UTC).timestamp()
    cost = Cost(usd=usd, online_usd=usd and 2 * usd, estimate=GUESS if usd else None)
    return RunCost(f"r{day}", created, f"publishers/google/models/{model}", labels, done, cost)


BILLS = [
    bill(1, team="growth", env="live"),
    bill(1, usd=0.1, team="growth"),
    bill(2, usd=None, team="shop", model="tuned"),
    bill(2, usd=None, done=False),
]


def test_costs_are_put_together_by_day_label_and_model() -> None:
    by_day = group_costs(BILLS, GroupBy.day)
    by_label = {total.of: total for total in group_costs(BILLS, GroupBy.label)}
    by_model = {total.of: total for total in group_costs(BILLS, GroupBy.model)}

    assert [(one.of, one.runs, one.usd) for one in by_day] == [
        ("2026-11-01", 2, 1.1),
        ("2026-11-02", 2, None),
    ]
    assert (by_label["team=growth"].usd, by_label["env=live"].usd, by_label[""].under_way) == (
        1.1,
        1.0,
        1,
    )
    assert (by_model["tuned"].usd, by_model["tuned"].unknown) == (None, 1)
    assert by_model["gemini-a"].estimated_usd == 1.0 and by_model["gemini-a"].online_usd == 2.2


bills = st.lists(
    st.builds(
        bill,
        st.integers(1, 28),
        usd=st.one_of(st.none(), st.integers(0, 10**9).map(lambda micro: micro / 10**6)),
        done=st.booleans(),
        model=st.sampled_from(["a", "b"]),
    )
)


@given(bills, st.sampled_from(GroupBy))
def test_groups_add_up_to_the_whole(found: list[RunCost], by: GroupBy) -> None:
    groups, whole = group_costs(found, by), sum_costs(found)

    assert sum(group.runs for group in groups) == whole.runs == len(found)
    assert (
        sum(group.unknown + group.under_way for group in groups) == whole.unknown + whole.under_way
    )
    assert isclose(
        sum(group.usd or 0 for group in groups), whole.usd or 0, rel_tol=1e-12, abs_tol=1e-12
    )
    assert (whole.usd is None) == (not any(one.final_cost for one in found))


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments, env={"CELERY_BROKER_URL": "redis://127.0.0.1:1/0"})
    return result.exit_code, result.stdout, result.stderr


def test_an_estimate_needs_no_redis_and_names_method_and_age_of_prices(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "hello", "key": "a"}\n{"contents": []}\n')

    code, out, err = run("estimate", str(file), "--model", "gemini-3.8-flash")

    assert code == 0
    assert "$" in out and "unknown" not in out
    assert "4 bytes" in err and "days ago" in err and "refused: row 2" in err


def test_an_estimate_over_the_limit_or_without_a_price_exits_with_7() -> None:
    limit = ("--max-cost-usd", "0.06")
    model = ("--model", "gemini-3.1-flash-lite")

    assert run("estimate", "--prompt", "hello", *model, *limit)[0] == 0
    assert run("estimate", *["--prompt", "hello"] * 2, *model, *limit)[0] == 7
    code, out, err = run("estimate", "--prompt", "hello", "--model", "gemini-fake", *limit)
    assert code == 7 and "unknown" in out and "promptmill models" in err


def test_an_estimate_names_its_location_and_says_if_that_was_assumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outside ``global`` the price is 10 % higher."""
    arguments = ("estimate", "--prompt", "hello", "--model", "gemini-3.8-flash")
    monkeypatch.delenv("GOOGLE_CLOUD_LOCATION", raising=False)
    assumed, here = run(*arguments)[2], json.loads(run(*arguments, "--format", "json")[1])
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "eu")
    named, there = run(*arguments)[2], json.loads(run(*arguments, "--format", "json")[1])

    assert "jobs in global, because GOOGLE_CLOUD_LOCATION is not set" in assumed
    assert "prices of jobs in eu\n" in named
    assert (here["location"], there["location"]) == ("global", "eu")
    assert isclose(there["usd"], 1.1 * here["usd"])


@pytest.mark.skipif(
    find_price_change("gemini-3.8-flash") is None, reason="no price change is known any more"
)
def test_an_estimate_shows_a_coming_price_and_the_retirement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_LOCATION", raising=False)
    arguments = ("estimate", "--prompt", "hello", "--model", "gemini-3.8-flash")
    told, text = json.loads(run(*arguments, "--format", "json")[1]), run(*arguments)[2]

    assert told["price_change"] == {"on": "2027-01-01", "input": 0.75, "output": 3.75}
    assert told["retires"] == "2027-09-02"
    assert "from 2027-01-01 on: $0.75 input and $3.75 output per million tokens" in text
    assert "retires the model on 2027-09-02 or later" in text


def test_an_estimate_warns_of_a_limit_that_thinking_uses_up(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    config = {"generationConfig": {"maxOutputTokens": 64}}
    contents = [{"role": "user", "parts": [{"text": "hello"}]}]
    line = json.dumps({"request": {"contents": contents, **config}})
    file.write_text(f"{line}\n{line}\n")

    _, out, err = run("estimate", str(file), "--model", "gemini-3.8-flash")

    assert err.count("maxOutputTokens 64 leaves no room for thinking at level MEDIUM") == 1
    assert "thoughts" in out


def test_an_unknown_price_is_null_for_programs() -> None:
    told = json.loads(
        run("estimate", "--prompt", "hello", "--model", "gemini-fake", "--format", "json")[1]
    )

    assert told["usd"] is None and told["prices"] == {} and told["input_tokens"] == 2


def test_models_are_listed_with_their_prices_and_the_age_of_these() -> None:
    code, out, err = run("models", "--prices")
    rows = {
        row["model"]: row
        for row in map(json.loads, run("models", "--format", "jsonl")[1].splitlines())
    }

    assert code == 0 and "gemini-3.8-flash" in out and "days ago" in err
    assert rows["gemini-3.5-flash"]["input"] == 0.75
    assert rows["gemini-3.5-flash"]["online_input"] == 1.5


@pytest.mark.parametrize("arguments", [[], ["--prices"]])
def test_a_table_of_models_fits_into_80_columns(arguments: list[str]) -> None:
    code, out, _ = run("models", *arguments)
    assert code == 0 and len(out.splitlines()) > 15
    assert max(map(len, out.splitlines())) <= 80


def test_models_are_listed_with_stage_locations_retirement_and_thinking() -> None:
    _, out, err = run("models")
    shown = {line.split()[0]: line.split()[1:] for line in out.splitlines() if "gemini" in line}
    assert shown["gemini-3.8-flash"] == ["GA", "global", "us", "eu", "MEDIUM", "2027-09-02"]
    assert shown["gemini-2.5-flash"][0] == "retired" and "checked on 2026-12-01" in err


def test_programs_get_every_model_with_its_facts_and_the_coming_price() -> None:
    rows = list(map(json.loads, run("models", "--format", "jsonl")[1].splitlines()))
    assert {row["model"] for row in rows} == MODELS.keys()
    assert len({frozenset(row) for row in rows}) == 1
    changes = {row["on"] for row in rows if row["model"] == "gemini-3.8-flash"}
    assert "2027-01-01" in changes or min(changes) > "2027-01-01"


def test_since_is_a_day_or_a_span() -> None:
    assert run("costs", "--since", "yesterday")[0] == 2
