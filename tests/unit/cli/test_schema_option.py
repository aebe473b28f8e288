"""What ``--response-schema`` names: a file, or a model that can be imported."""

import sys
from pathlib import Path

import pytest
import typer

from promptmill.cli import schema_option
from promptmill.config.errors import PromptmillError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, without a trace of what is imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "shapes_of_mine", raising=False)
    return tmp_path


def test_nothing_named_is_no_schema() -> None:
    assert schema_option.load_schema("") is None


def test_a_file_holds_a_json_schema(folder: Path) -> None:
    (folder / "review.json").write_text('{"type": "object"}')

    assert schema_option.load_schema("review.json") == {"type": "object"}


def test_a_model_is_imported_from_the_folder_that_the_command_is_called_in(folder: Path) -> None:
    (folder / "shapes_of_mine.py").write_text("class All:\n    class Review: ...\n")

    model = schema_option.load_schema("shapes_of_mine:All.Review")

    assert isinstance(model, type)
    assert model.__qualname__ == "All.Review"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("list.json", "list.json is not a JSON schema: Expected `object`, got `array`"),
        ("broken.json", "broken.json is not a JSON schema: "),
        ("no_module:Review", "no_module:Review cannot be imported: No module named 'no_module'"),
        ("json:Review", "json:Review cannot be imported: module 'json' has no attribute 'Review'"),
        (":Review", ":Review cannot be imported: Empty module name"),
    ],
)
def test_what_cannot_be_found_is_a_mistake_in_usage(folder: Path, text: str, words: str) -> None:
    (folder / "list.json").write_text("[]")
    (folder / "broken.json").write_bytes(b"\xff{")

    with pytest.raises(typer.BadParameter) as told:
        schema_option.load_schema(text)

    assert words in told.value.message


@pytest.mark.parametrize("text", ["no.json", "review"])
def test_a_missing_file_is_an_error(folder: Path, text: str) -> None:
    with pytest.raises(PromptmillError, match=f"{text} cannot be read: No such file"):
        schema_option.load_schema(text)
