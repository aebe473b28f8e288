"""Thoughts are output that is billed and counts against the limit: the estimate expects them."""

import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers import Estimate, Promptmill, PromptmillWarning
from promptmill.producers.models.model_table import MODELS, THOUGHT_TOKENS
from promptmill.producers.pricing.thinking import ThoughtCounter
from promptmill.producers.pricing.tokens import ESTIMATED_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.requests.model_checks import ModelChecks

FLASH = "gemini-3.8-flash"
MEDIUM, LOW, HIGH = (THOUGHT_TOKENS[level] for level in ("MEDIUM", "LOW", "HIGH"))


def asked(**config: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": "Is it blue?"}]}]
    return {"contents": contents, "generationConfig": config}


def estimate(model: str, *prompts: Any) -> Estimate:
    location = "us-central1" if "embedding" in model else "global"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptmillWarning)
        return Promptmill(location=location).estimate(list(prompts), model=model)


def output_tokens(model: str, *prompts: Any) -> tuple[int, int]:
    """Return the output tokens and the thought tokens of an estimate."""
    made = estimate(model, *prompts)
    return made.output_tokens, made.thought_tokens


@pytest.mark.parametrize(
    ("model", "thoughts"),
    [
        (FLASH, MEDIUM),
        ("publishers/google/models/gemini-3.1-pro-preview", HIGH),
        ("gemini-3.5-flash-lite", 0),
        ("gemini-unheard-of", 0),
    ],
)
def test_a_prompt_is_expected_to_think_as_its_model_does_by_default(
    model: str, thoughts: int
) -> None:
    text = "Is it blue?"

    assert output_tokens(model, text, {"prompt": text}) == (
        2 * (ESTIMATED_OUTPUT_TOKENS + thoughts),
        2 * thoughts,
    )


@pytest.mark.parametrize(
    ("config", "thoughts"),
    [
        ({"thinkingConfig": {"thinkingLevel": "LOW"}}, LOW),
        ({"thinking_config": {"thinking_level": "high"}}, HIGH),
        ({"thinkingConfig": {"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}}, MEDIUM),
        ({"thinkingConfig": {"includeThoughts": True}}, MEDIUM),
        ({"thinkingConfig": {"thinkingBudget": 0}}, 0),
        ({"thinkingConfig": {"thinkingBudget": 100}}, 100),
        ({"thinkingConfig": {"thinkingBudget": 9_000}}, MEDIUM),
        ({"thinkingConfig": {"thinkingBudget": -1}}, MEDIUM),
        ({"temperature": 1}, MEDIUM),
    ],
)
def test_a_thinking_config_counts(config: dict[str, Any], thoughts: int) -> None:
    assert ThoughtCounter(FLASH).count_thoughts(asked(**config)) == thoughts
    assert output_tokens(FLASH, {"request": asked(**config)})[1] == thoughts


def test_a_budget_makes_a_model_think_that_does_not_by_default() -> None:
    request = asked(thinkingConfig={"thinkingBudget": 300})

    assert ThoughtCounter("gemini-3.5-flash-lite").count_thoughts(request) == 300
    assert ThoughtCounter("gemini-unheard-of").count_thoughts(request) == 0


@pytest.mark.parametrize(("limit", "thoughts"), [(64, 64), (500, MEDIUM), (60_000, MEDIUM)])
def test_thoughts_and_text_stay_within_the_output_limit(limit: int, thoughts: int) -> None:
    expected = min(limit, MEDIUM + ESTIMATED_OUTPUT_TOKENS)

    assert output_tokens(FLASH, {"request": asked(maxOutputTokens=limit)}) == (expected, thoughts)


def test_thinking_raises_the_estimate_and_leaves_the_upper_bound() -> None:
    request = asked(maxOutputTokens=2_000)
    calm = asked(maxOutputTokens=2_000, thinkingConfig={"thinkingBudget": 0})
    thinking, still = (estimate(FLASH, {"request": one}) for one in (request, calm))

    assert (thinking.usd or 0) > (still.usd or 0) > 0
    assert thinking.output_tokens_most == still.output_tokens_most == 2_000
    assert all(f"{level} {count}" in thinking.method for level, count in THOUGHT_TOKENS.items())
    assert "rough assumption" in thinking.method


def test_an_embedding_has_no_output() -> None:
    made = estimate("gemini-embedding-001", "a red shoe")

    assert (made.output_tokens, made.output_tokens_most, made.thought_tokens) == (0, 0, 0)
    assert made.usd == made.usd_least and "embedding" in made.method


def warnings_of(model: str, *configs: dict[str, Any]) -> list[str]:
    found: list[str] = []
    rows = [{"request": asked(**config)} for config in configs]
    list(encode_lines("r", rows, 1 << 20, model_checks=ModelChecks(model, found.append)))
    return found


def test_a_limit_that_thinking_uses_up_is_one_warning_with_a_remedy() -> None:
    (warning,) = warnings_of(FLASH, {"maxOutputTokens": 64}, {"maxOutputTokens": 65}, {})

    assert "maxOutputTokens 64" in warning and "MEDIUM" in warning and "MAX_TOKENS" in warning
    assert f"maxOutputTokens {MEDIUM + ESTIMATED_OUTPUT_TOKENS} or more" in warning
    assert "thinkingLevel" not in warning  # LOW needs more than 64, too


def test_a_lower_level_is_advised_if_it_fits() -> None:
    (warning,) = warnings_of(FLASH, {"maxOutputTokens": 256})

    assert "set thinkingConfig.thinkingLevel LOW" in warning


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (FLASH, {"maxOutputTokens": 2_000}),
        (FLASH, {"maxOutputTokens": 64, "thinkingConfig": {"thinkingBudget": 0}}),
        ("gemini-3.5-flash-lite", {"maxOutputTokens": 64}),
        ("gemini-unheard-of", {"maxOutputTokens": 64}),
    ],
)
def test_a_limit_with_room_is_no_warning(model: str, config: dict[str, Any]) -> None:
    assert warnings_of(model, config) == []


odd_values = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(), st.text(max_size=8),
    st.sampled_from(["low", "HIGH", "MINIMAL", "XHIGH"]), st.lists(st.integers(), max_size=2),
)  # fmt: skip
odd_configs = st.dictionaries(
    st.sampled_from(["thinkingLevel", "thinking_level", "thinkingBudget", "thinking_budget"]),
    odd_values,
)


@given(st.sampled_from([*MODELS, "gemini-x"]), odd_values | odd_configs, odd_values)
def test_any_config_gives_a_count_within_what_a_model_can_think(
    model: str, thinking: Any, limit: Any
) -> None:
    counter = ThoughtCounter(model)
    request = asked(thinkingConfig=thinking, maxOutputTokens=limit)

    assert 0 <= counter.count_thoughts(request) <= max(THOUGHT_TOKENS.values())
    assert 0 <= counter.count_thoughts({"generationConfig": thinking}) <= MAX_OUTPUT_TOKENS
    assert isinstance(counter.find_shortage(request), str)
