from datetime import date

import msgspec
import pytest

from promptmill.emulator import model_table as emulated
from promptmill.producers.models.model_table import MODELS, THOUGHT_TOKENS, Stage, Task, find_model


@pytest.mark.parametrize(
    "name",
    [
        "gemini-3.8-flash",
        "publishers/google/models/gemini-3.8-flash",
        "projects/p/locations/eu/publishers/google/models/gemini-3.8-flash",
        "gemini-3.8-flash-001",
        "gemini-3.8-flash@default",
    ],
)
def test_a_model_is_found_by_every_form_of_its_name(name: str) -> None:
    assert find_model(name) is MODELS["gemini-3.8-flash"]


@pytest.mark.parametrize("name", ["", "gemini", "gemini-3-flash", "gemini-9-flash", "claude-1"])
def test_other_names_are_unknown(name: str) -> None:
    assert find_model(name) is None


def test_the_number_of_an_embedding_model_is_part_of_its_name() -> None:
    assert find_model("gemini-embedding-001") is MODELS["gemini-embedding-001"]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_facts_of_a_row_are_consistent(model: object) -> None:
    row = find_model(getattr(model, "name", ""))
    assert row is model
    assert row is not None
    assert row.source
    assert date.fromisoformat(row.checked)
    assert not row.retires or date.fromisoformat(row.retires)
    assert (row.stage is Stage.retired) == bool(row.retires and row.retires <= row.checked)
    assert set(row.thinking_levels) <= THOUGHT_TOKENS.keys()
    assert row.default_thinking_level in (*row.thinking_levels, "")
    assert bool(row.thinking_levels) == bool(row.default_thinking_level)
    assert (row.task is Task.embed) == bool(row.max_dimensions)


def test_the_emulator_has_the_same_facts() -> None:
    own_fields = {"successor", "regions_unproven"}
    facts = {
        name: {
            key: fact for key, fact in msgspec.structs.asdict(row).items() if key not in own_fields
        }
        for name, row in MODELS.items()
    }
    assert facts == {name: msgspec.structs.asdict(row) for name, row in emulated.MODELS.items()}


@pytest.mark.parametrize("model", MODELS)
def test_a_successor_is_available(model: str) -> None:
    successor = MODELS[model].successor
    assert bool(successor) == (MODELS[model].stage is Stage.retired)
    assert not successor or MODELS[successor].stage is not Stage.retired
