"""Model, location, tables and generation fields are checked before anything is queued."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from promptmill.config.errors import ConfigurationError, PromptmillWarning
from promptmill.producers import Promptmill
from promptmill.producers.contract.messages import Seal
from support.recording_mill import open_mill

BROKER = "redis://127.0.0.1:1/0"
REFUSED = {"presencePenalty": 0.5}
ROWS = [{"text": "good morning"}]
CALLS: dict[str, Callable[[Promptmill], object]] = {
    "submit": lambda mill: mill.submit(["a"]),
    "submit_rows": lambda mill: mill.submit_rows(ROWS, template="{{ text }}"),
    "stream": lambda mill: mill.stream(),
    "enqueue": lambda mill: mill.enqueue("a", pool="p"),
    "validate": lambda mill: mill.validate(["a"]),
    "estimate": lambda mill: mill.estimate(["a"]),
}


def open_recorder(**settings: object) -> tuple[Promptmill, list[Any]]:
    mill, _, sender = open_mill()
    mill.settings = Promptmill(broker_url=BROKER, **settings).settings
    return mill, sender.sent


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_location_without_the_model_is_refused_by_every_method(
    call: Callable[[Promptmill], object],
) -> None:
    mill, sent = open_recorder(model="gemini-3.8-flash", location="us-central1")
    with pytest.raises(ConfigurationError, match="set GOOGLE_CLOUD_LOCATION to us, global or eu"):
        call(mill)
    assert not sent


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_retired_model_is_refused_by_every_method(
    call: Callable[[Promptmill], object],
) -> None:
    mill, sent = open_recorder(model="gemini-2.5-flash")
    with pytest.raises(ConfigurationError, match="retired on 2026-10-20; use"):
        call(mill)
    assert not sent


def test_tables_in_global_are_refused_if_the_location_is_set() -> None:
    mill, sent = open_recorder(model="gemini-3.8-flash", location="global")
    with pytest.raises(ConfigurationError, match="jobs in global cannot read or write BigQuery"):
        mill.submit(["a"], tables="acme.runs")
    assert not sent


@pytest.mark.parametrize(
    "call",
    [
        lambda mill, config: mill.submit_rows(
            ROWS, template="{{ text }}", generation_config=config
        ),
        lambda mill, config: mill.validate(ROWS, template="{{ text }}", generation_config=config),
        lambda mill, config: mill.estimate(ROWS, template="{{ text }}", generation_config=config),
    ],
)
def test_a_config_of_all_rows_is_checked_once(call: Callable[..., object]) -> None:
    mill, sent = open_recorder(model="gemini-3.8-flash")
    with pytest.raises(ConfigurationError) as refused:
        call(mill, REFUSED)
    assert str(refused.value) == (
        "generation_config.presencePenalty: gemini-3.8-flash refuses it; remove it"
    )
    assert not sent


def test_an_output_limit_of_retries_above_that_of_the_model_is_refused() -> None:
    mill, _ = open_recorder(model="gemini-3.8-flash")
    with pytest.raises(ConfigurationError, match=r"retry_max_tokens.*accepts at most 65,536"):
        mill.submit(["a"], retry_max_tokens=100_000)


def test_a_row_that_the_model_refuses_is_an_invalid_row() -> None:
    mill, _ = open_recorder(model="gemini-3.8-flash")
    user = {"role": "user", "parts": [{"text": "a"}]}
    rows = ["a", {"request": {"contents": [user], "generationConfig": REFUSED}}]
    validation = mill.validate(rows)
    assert [finding.row for finding in validation.findings] == [2]
    assert "gemini-3.8-flash refuses it" in validation.findings[0].reason


def test_a_warning_for_many_rows_is_issued_once_and_is_part_of_the_seal() -> None:
    mill, sent = open_recorder(model="gemini-3.8-flash")
    options = {"template": "{{ text }}", "generation_config": {"temperature": 0}}
    with pytest.warns(PromptmillWarning, match="generationConfig.temperature has no") as issued:
        mill.submit_rows(ROWS * 5, **options)  # type: ignore[arg-type]
    (seal,) = [part for message in sent for part in message if isinstance(part, Seal)]
    assert seal.warnings == [str(warning.message) for warning in issued]
    assert len(seal.warnings) == 1


def test_an_unknown_model_is_sent_with_a_warning() -> None:
    mill, sent = open_recorder(model="gemini-3-flash", location="us-central1")
    with pytest.warns(PromptmillWarning, match="did you mean gemini-3-flash-preview"):
        mill.submit(["a"])
    assert sent


def test_the_setting_turns_refusals_into_warnings() -> None:
    mill, sent = open_recorder(
        model="gemini-3.8-flash", location="us-central1", model_checks="warn"
    )
    with pytest.warns(PromptmillWarning, match="has no batch jobs in us-central1"):
        mill.submit(["a"])
    assert sent


def test_a_known_model_in_its_location_has_no_warning() -> None:
    mill, sent = open_recorder(model="gemini-3-flash-preview", location="global")
    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptmillWarning)
        mill.submit(["a"])
    assert sent
