"""Unit tests mirror the product: each file is named after the module that it tests."""

from pathlib import Path

import pytest

UNIT = Path(__file__).parent
ROOT = UNIT.parents[1]
ABOUT_SEVERAL_MODULES = {
    "producers/contract/test_golden_messages.py": "messages that earlier versions recorded",
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


def find_module(file: str) -> Path:
    """Return the path that the module of a test has, if the test is about one module."""
    package, _, rest = file.partition("/")
    folder = ROOT / "tests" if package == "support" else ROOT / package / "promptmill"
    test = folder / package / rest
    return test.with_name(test.name.removeprefix("test_"))
