"""The product's table of models and that of the emulator, written apart, agree."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator import model_table as emulated
from promptmill.emulator.errors import RowRefused
from promptmill.emulator.model_rules import check_model_request
from promptmill.producers.models import model_table
from promptmill.producers.models.model_names import parse_model
from promptmill.producers.models.model_rules import compile_rules
from promptmill.producers.models.run_checks import find_problems
from unit.emulator.test_models import TABLES, TODAY, create

LOCATIONS = ("global", "us", "eu", "us-central1", "europe-west4", "asia-east1")
GENERATING = [
    name
    for name, model in emulated.MODELS.items()
    if not model.embeds and not model.is_retired(TODAY)
]
LEVELS = st.sampled_from(["MINIMAL", "LOW", "medium", "HIGH", "THINKING_LEVEL_UNSPECIFIED"])
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 1.5]),
        "topK": st.just(3),
        "presencePenalty": st.sampled_from([0, 0.5]),
        "frequency_penalty": st.just(0.5),
        "candidateCount": st.sampled_from([1, 2]),
        "maxOutputTokens": st.sampled_from([1, 4_096, 65_536, 65_537]),
        "thinkingConfig": st.one_of(
            st.fixed_dictionaries({}, optional={"thinkingLevel": LEVELS}),
            st.just({"thinkingBudget": 0}),
            st.just({"thinkingLevel": "HIGH", "thinkingBudget": 100}),
        ),
    },
)


def test_both_tables_have_the_same_models() -> None:
    assert set(model_table.MODELS) == set(emulated.MODELS)


@pytest.mark.parametrize("name", emulated.MODELS)
def test_both_tables_have_the_same_facts(name: str) -> None:
    product, emulator = model_table.MODELS[name], emulated.MODELS[name]

    for field in set(emulator.__struct_fields__) - {"source", "checked"}:
        assert getattr(product, field) == getattr(emulator, field), field


@pytest.mark.parametrize("tables", [False, True])
@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("name", [*emulated.MODELS, "gemini-3-flash", "gemini-9-flash"])
def test_what_the_emulator_refuses_is_found_before_a_run_is_sent(
    name: str, location: str, tables: bool
) -> None:
    refusal = create(name, location, **(TABLES if tables else {}))

    found = list(find_problems(parse_model(name), tables, location, date.fromisoformat(TODAY)))

    assert not refusal or found
    assert refusal or not any(finding.refuses for finding in found)


@given(st.sampled_from(GENERATING), CONFIGS, st.sampled_from(["user", "model"]))
def test_both_refuse_the_same_requests(name: str, config: dict[str, Any], role: str) -> None:
    turns = [{"role": who, "parts": [{"text": "x"}]} for who in ("user", role)]
    request = {"contents": turns, "generationConfig": config}
    try:
        check_model_request(request, emulated.MODELS[name])
        is_refused = False
    except RowRefused:
        is_refused = True

    assert bool(compile_rules(name).find_refusal(request)) == is_refused
