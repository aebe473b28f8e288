"""Unit tests mirror the product, and the import rules cover every folder of it."""

import tomllib
from pathlib import Path

import pytest

UNIT = Path(__file__).parent
ROOT = UNIT.parents[1]
ABOUT_SEVERAL_MODULES = {
    "producers/contract/test_golden_messages.py": "messages that earlier versions recorded",
    "producers/requests/test_captured_inputs.py": "input lines that Google took or refused",
    "producers/test_public.py": "the public names, and what an import costs",
    "test_compose.py": "the compose file",
    "test_docs.py": "the documentation",
    "test_layout.py": "the tests themselves",
    "test_log_events.py": "every call of a logger",
    "workers/steps/test_replaced_output.py": "collect and parse together",
    "workers/supervision/test_deadlines.py": "a deadline, from the sweep to the report",
}
"""Files that test no single module, with what they test."""

FILES = sorted(path.relative_to(UNIT).as_posix() for path in UNIT.rglob("test_*.py"))


@pytest.mark.parametrize("file", FILES)
def test_a_unit_test_is_named_after_its_module(file: str) -> None:
    has_module = find_module(file).is_file()

    assert has_module != (file in ABOUT_SEVERAL_MODULES), (
        f"{find_module(file).relative_to(ROOT)} does not exist: move the test to the place of "
        "the module that it tests"
    )


def test_the_list_of_other_tests_names_only_files_that_exist() -> None:
    assert ABOUT_SEVERAL_MODULES.keys() <= set(FILES)


def test_the_import_rules_cover_every_package() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = {f"promptmill.{path.name}" for path in ROOT.glob("*/promptmill/*") if path.is_dir()}

    assert set(options["root_packages"]) == packages


def test_every_folder_of_the_product_is_a_package() -> None:
    folders = {path.parent for path in ROOT.glob("*/promptmill/*/**/*.py")}

    # The import rules do not see modules in a folder without __init__.py.
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def find_module(file: str) -> Path:
    """Return the path that the module of a test has, if the test is about one module."""
    package, _, rest = file.partition("/")
    folder = ROOT / "tests" if package == "support" else ROOT / package / "promptmill"
    test = folder / package / rest
    return test.with_name(test.name.removeprefix("test_"))
