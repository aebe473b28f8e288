"""Thinking counts against `maxOutputTokens`, by model and level."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator.errors import RowRefused
from promptmill.emulator.responders import EchoResponder
from promptmill.emulator.thinking import TOKENS_BY_LEVEL

MODEL = "gemini-3.6-flash"
"""A model with every level, whose default is MEDIUM."""


def answer(text: str = "hi", model: str = MODEL, **config: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": text}]}]
    request = {"contents": contents, "generationConfig": config}
    return EchoResponder().answer_request(request, model, 1_800_000_000.0)


def count_thoughts(response: dict[str, Any]) -> int:
    return int(response["usageMetadata"].get("thoughtsTokenCount", 0))


@pytest.mark.parametrize(
    ("model", "level"),
    [
        (MODEL, "MEDIUM"),
        ("gemini-3.8-flash", "MEDIUM"),
        ("gemini-3-flash-preview", "HIGH"),
        ("gemini-3.5-flash-lite", "MINIMAL"),
    ],
)
def test_a_model_thinks_at_its_default_level(model: str, level: str) -> None:
    fewest, most = TOKENS_BY_LEVEL[level]

    assert fewest <= count_thoughts(answer(model=model)) <= most


def test_higher_levels_take_more_tokens() -> None:
    counts = [
        count_thoughts(answer(thinkingConfig={"thinkingLevel": level})) for level in TOKENS_BY_LEVEL
    ]

    assert counts[0] == 0 < counts[1] < counts[2] < counts[3]


@pytest.mark.parametrize("budget", [0, 100])
def test_a_budget_limits_the_thoughts(budget: int) -> None:
    assert count_thoughts(answer(thinkingConfig={"thinkingBudget": budget})) == budget


def test_thoughts_can_leave_no_room_for_text() -> None:
    response = answer(maxOutputTokens=64)

    (candidate,) = response["candidates"]
    assert candidate == {"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}
    usage = response["usageMetadata"]
    assert usage["thoughtsTokenCount"] == 64
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + 64
    assert "candidatesTokenCount" not in usage


@given(st.integers(1, 700), st.text(min_size=1, max_size=2000))
def test_thoughts_and_text_together_stay_within_the_limit(limit: int, text: str) -> None:
    response = answer(f"x{text}", maxOutputTokens=limit)

    usage = response["usageMetadata"]
    total = usage["thoughtsTokenCount"] + usage.get("candidatesTokenCount", 0)
    assert total <= limit
    assert (response["candidates"][0]["finishReason"] == "STOP") or total >= limit - 1


def test_thoughts_come_as_a_part_when_the_request_includes_them() -> None:
    (candidate,) = answer(thinkingConfig={"includeThoughts": True})["candidates"]

    thought, text = candidate["content"]["parts"]
    assert thought["thought"] is True
    assert "thought" not in text


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        ("gemini-3.8-flash", {"presencePenalty": 0.5}, "Penalty is not enabled for this model"),
        ("gemini-3.8-flash", {"frequency_penalty": 0}, "Penalty is not enabled for this model"),
        ("gemini-3.8-flash", {"candidateCount": 1}, "candidateCount is not supported"),
        (
            "gemini-3.8-flash",
            {"thinkingConfig": {"thinkingLevel": "MINIMAL"}},
            "thinking_level MINIMAL is not supported by this model",
        ),
        (
            "gemini-2.5-flash-image",
            {"thinking_config": {"thinking_level": "LOW"}},
            "thinking_level is not supported by this model",
        ),
        (
            MODEL,
            {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 10}},
            "You can only set only one of thinking budget and thinking level.",
        ),
        (MODEL, {"thinkingConfig": {"thinkingBudget": "many"}}, "thinking_budget"),
        (MODEL, {"maxOutputTokens": 65_537}, "from 1 \\(inclusive\\) to 65537 \\(exclusive\\)"),
    ],
)
def test_a_model_refuses_fields_that_others_take(
    model: str, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(RowRefused, match=message) as refused:
        answer(model=model, **config)

    assert refused.value.code == 400


def test_fields_that_a_model_ignores_are_accepted() -> None:
    config: dict[str, Any] = {"temperature": 0.2, "topP": 0.9, "topK": 7}

    assert answer(model="gemini-3.8-flash", **config)["candidates"]


def test_a_last_turn_of_the_model_is_refused_where_it_is_no_prefix() -> None:
    turns = [{"role": role, "parts": [{"text": "x"}]} for role in ("user", "model")]

    with pytest.raises(RowRefused, match="last turn"):
        EchoResponder().answer_request({"contents": turns}, "gemini-3.8-flash", 0.0)
    assert EchoResponder().answer_request({"contents": turns}, "gemini-3.5-flash", 0.0)


def test_a_model_outside_the_table_has_no_rules() -> None:
    response = answer(model="my-model", presencePenalty=1, candidateCount=2)

    assert len(response["candidates"]) == 2
    assert count_thoughts(response) == 0
