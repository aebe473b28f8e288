"""The table of faults names tests for every case, or says that there are none yet; and those tests are there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "faults.md"
CASES = 52
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", TABLE.read_text(), re.MULTILINE)


def test_every_case_is_in_the_table_once() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, CASES + 1))


@pytest.mark.parametrize(("number", "case", "told"), ROWS)
def test_the_tests_of_a_case_are_there(number: str, case: str, told: str) -> None:
    named = re.findall(r"`(\S+?)::(\w+)`", told)
    assert named or told.startswith("not yet")
    for file, test in named:
        assert f"def {test}(" in (TESTS / file).read_text()
