"""Everything that is wrong with a run is found without sending it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import InvalidRequest
from promptmill.producers import Finding, Promptmill
from promptmill.producers.requests.encode import Prompt, encode_lines
from promptmill.producers.rows.validation import MAX_FINDINGS, validate_prompts

LIMIT = 10_000
DUPLICATE_KEY = (
    "the key is the same as in row 1; give each row its own key "
    "(a row without a key has its row number)"
)


@given(
    st.lists(
        st.sampled_from(
            ["a", "", {"prompt": "x"}, {"prompt": 7}, {"reqest": 1}, {"prompt": "x" * LIMIT}]
        )
    )
)
def test_what_is_found_is_what_submitting_refuses(prompts: list[Any]) -> None:
    refused = [line for line in encode_lines("01jtest", prompts, LIMIT) if line.refusal]

    seen = validate_prompts(prompts, LIMIT)

    assert (seen.rows, seen.problem_count) == (len(prompts), len(refused))
    assert [(one.row, one.key, one.reason) for one in seen.findings] == [
        (r.row, r.key, r.refusal) for r in refused
    ]
    assert seen.stops == (len(refused) == len(prompts))


def test_a_row_that_stops_the_run_does_not_stop_the_search() -> None:
    prompts = [
        {"key": "a", "prompt": "x"},
        {"key": "", "prompt": "x"},
        {"key": "a", "prompt": "x"},
        {"prompt": ""},
        7,
    ]

    seen = validate_prompts(prompts, LIMIT)  # type: ignore[arg-type]

    assert seen.findings == [
        Finding(2, "", "a key must be a string of 1 to 512 characters", stops=True),
        Finding(3, "", DUPLICATE_KEY, stops=True),
        Finding(4, "4", "the prompt is empty"),
        Finding(5, "", "a prompt must be a string or a mapping, not int", stops=True),
    ]
    assert (seen.rows, seen.problem_count, seen.stops, seen.ok) == (5, 4, True, False)


def test_where_nothing_can_be_read_any_more_that_is_the_last_finding() -> None:
    def prompts() -> Iterator[Prompt]:
        yield ""
        raise InvalidRequest("line 3: the line is not JSON", row=2)

    findings = validate_prompts(prompts(), LIMIT).findings

    assert [one.row for one in findings] == [1, 2]
    assert findings[-1].reason == "line 3: the line is not JSON; later rows are not checked"


def test_of_very_many_findings_the_first_are_kept_and_all_are_counted() -> None:
    seen = validate_prompts(("" for _ in range(MAX_FINDINGS + 5)), LIMIT)

    assert (seen.problem_count, len(seen.findings), seen.findings[-1].row) == (
        MAX_FINDINGS + 5,
        MAX_FINDINGS,
        MAX_FINDINGS,
    )


@pytest.fixture
def mill() -> Promptmill:
    return Promptmill(broker_url="redis://127.0.0.1:1/0", model="gemini-3.8-flash")


def test_a_mill_validates_with_the_arguments_that_it_would_submit_with(mill: Promptmill) -> None:
    rows = [{"id": "a", "text": "fine"}, {"id": "b"}]

    seen = mill.validate(
        rows, template="{{ text }}", key="id", model="gemini-3.8-flash", name="n", deadline="1h"
    )

    assert [(one.row, one.key) for one in seen.findings] == [(2, "b")]
    assert mill.validate(["one", "two"], model="gemini-3.8-flash").ok


@pytest.mark.parametrize(
    "wrong", [{"modle": "x"}, {"template": "{{ id }}", "keys": "id"}, {"key": "id"}]
)
def test_an_argument_that_neither_takes_is_an_error(
    mill: Promptmill, wrong: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        mill.validate([{"id": "a"}], **wrong)


def test_every_method_lists_the_options_that_it_takes(mill: Promptmill) -> None:
    unknown: Any = {"foo": 1}
    calls: list[Callable[[], object]] = [
        lambda: mill.submit(["a"], **unknown),
        lambda: mill.submit_rows([{"id": "a"}], template="{{ id }}", **unknown),
        lambda: mill.submit_table("bq://p.d.t", output="bq://p.d", **unknown),
        lambda: mill.estimate(["a"], **unknown),
        lambda: mill.estimate([{"id": "a"}], template="{{ id }}", **unknown),
        lambda: mill.prompts(["a"], **unknown),
        lambda: mill.prompts([{"id": "a"}], template="{{ id }}", **unknown),
    ]
    expected_options = [
        {"idempotency_key", "model"},
        {"idempotency_key", "model", "media", "system_instruction"},
        {"idempotency_key", "model", "metadata"},
        {"media", "model", "on_refused", "response_schema", "template"},
        {"media", "model", "on_refused", "response_schema", "template"},
        {"media", "system_instruction", "template"},
        {"media", "system_instruction", "template"},
    ]

    for call, options in zip(calls, expected_options, strict=True):
        with pytest.raises(TypeError, match=r"^unexpected option 'foo'; use ") as refusal:
            call()
        assert options <= set(str(refusal.value).split("; use ")[1].split(", "))


def test_a_run_that_is_strict_is_refused_for_one_row(mill: Promptmill) -> None:
    with pytest.raises(InvalidRequest, match=r"^row 2 \(key 'b'\): the prompt is empty"):
        mill.submit([{"key": "a", "prompt": "x"}, {"key": "b", "prompt": ""}], strict=True)


def test_the_schema_that_a_run_would_have_is_looked_at_too(mill: Promptmill) -> None:
    schema = {"type": "object", "properties": {"tone": {"type": "string"}}, "required": ["tone"]}
    own = {
        "contents": [{"parts": [{"text": "hi"}]}],
        "generationConfig": {"responseSchema": {"type": "STRING"}},
    }

    seen = mill.validate(["one", {"request": own}], response_schema=schema)

    assert [(one.row, "has its own responseSchema" in one.reason) for one in seen.findings] == [
        (2, True)
    ]
    assert mill.validate([{"text": "fine"}], template="{{ text }}", response_schema=schema).ok
