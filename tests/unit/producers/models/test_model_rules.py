import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers.models.model_rules import compile_rules
from promptmill.producers.models.model_table import MODELS
from promptmill.producers.requests.encode import Prompt, encode_lines
from promptmill.producers.requests.model_checks import ModelChecks

USER = {"role": "user", "parts": [{"text": "Say hello"}]}
ANSWER = {"role": "model", "parts": [{"text": "Hello"}]}


def request(config: object = None, field: str = "generationConfig") -> dict[str, object]:
    return {"contents": [USER]} | ({field: config} if config is not None else {})


def refusal(model: str, config: object, field: str = "generationConfig") -> str:
    return compile_rules(model).find_refusal(request(config, field))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"presencePenalty": 0.5}, "presencePenalty: gemini-3.8-flash refuses it; remove it"),
        ({"frequencyPenalty": 0}, "frequencyPenalty: gemini-3.8-flash refuses it; remove it"),
        ({"frequency_penalty": 1}, "frequency_penalty: gemini-3.8-flash refuses it; remove it"),
        ({"candidateCount": 2}, "candidateCount: gemini-3.8-flash refuses it; remove it"),
        (
            {"thinkingConfig": {"thinkingLevel": "MINIMAL"}},
            "thinkingConfig.thinkingLevel: gemini-3.8-flash accepts LOW, MEDIUM, HIGH, "
            "not 'MINIMAL'",
        ),
        (
            {"thinking_config": {"thinking_level": 7}},
            "thinking_config.thinking_level: gemini-3.8-flash accepts LOW, MEDIUM, HIGH, not 7",
        ),
        (
            {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 0}},
            "thinkingConfig.thinkingBudget: gemini-3.8-flash refuses it together with "
            "thinkingLevel; set only one",
        ),
        ({"maxOutputTokens": 65_537}, "maxOutputTokens: gemini-3.8-flash accepts at most 65,536"),
    ],
)
@pytest.mark.parametrize("field", ["generationConfig", "generation_config"])
def test_a_field_that_the_model_refuses_is_named_with_the_way_out(
    config: object, reason: str, field: str
) -> None:
    assert refusal("gemini-3.8-flash", config, field) == f"{field}.{reason}"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"presencePenalty": None},
        {"temperature": 0.2, "topP": 0.9, "top_k": 3},
        {"thinkingConfig": {"thinkingLevel": "low", "includeThoughts": True}},
        {"thinkingConfig": {"thinkingBudget": 0}},
        {"maxOutputTokens": 65_536, "stopSequences": ["."]},
    ],
)
def test_fields_that_the_model_accepts_are_not_refused(config: object) -> None:
    assert refusal("gemini-3.8-flash", config) == ""


def test_a_model_without_levels_refuses_a_level() -> None:
    config = {"thinkingConfig": {"thinkingLevel": "LOW"}}
    assert "gemini-2.5-flash-image has no thinking levels" in refusal(
        "gemini-2.5-flash-image", config
    )


def test_several_candidates_are_sent_to_a_model_that_allows_them() -> None:
    assert refusal("gemini-3.1-flash-lite", {"candidateCount": 2, "presencePenalty": 1}) == ""


@pytest.mark.parametrize("contents", [[USER, ANSWER], (USER, ANSWER), ANSWER])
def test_a_last_turn_of_the_model_is_refused_by_models_that_refuse_it(contents: object) -> None:
    reason = compile_rules("gemini-3.8-flash").find_refusal({"contents": contents})
    assert reason.startswith("contents: gemini-3.8-flash refuses a last turn of the model")
    assert compile_rules("gemini-3.5-flash").find_refusal({"contents": contents}) == ""
    assert compile_rules("gemini-3.8-flash").find_refusal({"contents": [ANSWER, USER]}) == ""


def test_fields_without_effect_are_listed_by_path() -> None:
    config = {"temperature": 0.0, "top_p": 0.5, "topK": None, "seed": 1}
    rules = compile_rules("gemini-3.8-flash")
    assert rules.list_ignored_fields(request(config)) == [
        "generationConfig.temperature",
        "generationConfig.top_p",
    ]
    assert compile_rules("gemini-3.5-flash").list_ignored_fields(request(config)) == []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=9),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["thinkingConfig", "thinking_level", "thinkingBudget", "contents", "role", "topP"]
            )
            | st.text(max_size=5),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([*MODELS, "gemini-9-unknown", ""]), JSON_VALUES, JSON_VALUES)
def test_every_value_of_a_request_can_be_checked(
    model: str, config: object, contents: object
) -> None:
    fields = {"generationConfig": config, "contents": contents}
    rules = compile_rules(model)
    assert isinstance(rules.find_refusal(fields), str)
    assert all(path.startswith("generationConfig.") for path in rules.list_ignored_fields(fields))


@given(JSON_VALUES)
def test_an_unknown_model_refuses_nothing(config: object) -> None:
    assert refusal("gemini-9-unknown", config) == ""


def test_a_row_that_the_model_refuses_fails_alone() -> None:
    rows: list[Prompt] = [{"request": request({"candidateCount": 2})}, {"request": request()}, "Hi"]
    checks = ModelChecks("gemini-3.8-flash")
    lines = list(encode_lines("01jtest", rows, 10_000, model_checks=checks))
    assert [bool(line.refusal) for line in lines] == [True, False, False]


@pytest.mark.parametrize("field", ["candidateCount", "candidate_count"])
def test_several_candidates_are_sent_only_if_the_run_keeps_them(field: str) -> None:
    rows = [{"request": request({field: count})} for count in (1, 3)]
    refusals = [
        [line.refusal for line in encode_lines("01jtest", rows, 10_000, model_checks=checks)]
        for keep in ([], ["grounding"], ["candidates"], ["response"], None)
        for checks in [ModelChecks("gemini-3-flash-preview", keep=keep)]
    ]
    refused = (
        f"generationConfig.{field}: all 3 candidates are billed, but results have the first only; "
        "submit with keep='candidates', or remove the field"
    )
    assert refusals == [["", refused], ["", refused], ["", ""], ["", ""], ["", ""]]


def test_a_warning_for_many_rows_is_given_once() -> None:
    warnings: list[str] = []
    rows = [{"request": request({"temperature": number})} for number in range(5)]
    checks = ModelChecks("gemini-3.8-flash", warnings.append)
    assert not any(line.refusal for line in encode_lines("r", rows, 10_000, model_checks=checks))
    assert warnings == [
        "generationConfig.temperature has no effect, because gemini-3.8-flash ignores it"
    ]


def test_refusals_can_be_turned_into_warnings() -> None:
    warnings: list[str] = []
    rows = [{"request": request({"candidateCount": 2})}] * 3
    checks = ModelChecks("gemini-3.8-flash", warnings.append, refuse=False)
    assert not any(line.refusal for line in encode_lines("r", rows, 10_000, model_checks=checks))
    assert warnings == ["generationConfig.candidateCount: gemini-3.8-flash refuses it; remove it"]
