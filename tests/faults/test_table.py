"""The page on faults describes every case and names existing tests."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "faults.md").read_text()
CASES = range(1, 53)
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
NAMED_TESTS = re.findall(r"^ ?(\d+)  (\S+?)::(\w+)$", PAGE, re.MULTILINE)


def test_every_case_is_described_once() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(CASES)


def test_every_case_has_a_test() -> None:
    assert {int(number) for number, _, _ in NAMED_TESTS} == set(CASES)


@pytest.mark.parametrize(("case", "file", "test"), NAMED_TESTS)
def test_a_named_test_exists(case: str, file: str, test: str) -> None:
    assert f"def {test}(" in (TESTS / file).read_text()
