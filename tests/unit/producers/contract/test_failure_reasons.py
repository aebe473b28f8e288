"""Every reason is a member of one enum, with an explanation."""

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from promptmill.producers.contract.failure_reasons import TRANSIENT, FailureReason
from promptmill.producers.contract.results import Error

ROOT = Path(__file__).parents[4]
ENUM = ROOT / "producers/promptmill/producers/contract/failure_reasons.py"
SOURCES = [
    path
    for package in ("config", "producers", "cli", "workers", "local")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path != ENUM
]


@pytest.mark.parametrize("reason", FailureReason)
def test_each_reason_has_one_plain_sentence(reason: FailureReason) -> None:
    assert reason.value == reason.name
    for text in (reason.explanation, reason.remedy):
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.count(". ") == 0
        assert len(text.split()) <= 20


def test_product_code_names_reasons_by_member_only() -> None:
    """A literal would miss its explanation, and the type checker would miss its typos."""
    literals = [
        f"{path.relative_to(ROOT)}:{line} {text}"
        for path in SOURCES
        for line, text in _reason_literals(ast.parse(path.read_text()))
    ]

    assert literals == []


def test_literals_in_the_place_of_a_reason_are_found() -> None:
    source = 'Error("A")\nEnded(job, reason="B")\nif error.reason == "C": pass\nx = "SAFETY"'

    assert sorted(text for _, text in _reason_literals(ast.parse(source))) == [
        "A", "B", "C", "SAFETY",
    ]  # fmt: skip


def test_transient_reasons_are_looked_up_by_plain_strings() -> None:
    assert "UNAVAILABLE" in TRANSIENT
    assert "SAFETY" not in TRANSIENT
    assert set(TRANSIENT) < set(FailureReason)


def test_a_member_is_stored_as_its_plain_string() -> None:
    error = Error(FailureReason.SAFETY)

    assert msgspec.json.encode(error) == b'{"reason":"SAFETY"}'
    assert (error, repr(error)) == (Error("SAFETY"), repr(Error("SAFETY")))


def _reason_literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    candidates: list[ast.expr] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name("Error"), args=[first, *_]):
                candidates.append(first)
            case ast.keyword(arg="reason", value=value):
                candidates.append(value)
            case ast.Compare(left=ast.Attribute(attr="reason"), comparators=comparators):
                candidates += comparators
            case ast.Constant(str(text)) if text in set(FailureReason):
                yield node.lineno, text
    for node in candidates:
        match node:
            case ast.Constant(str(text)) if text and text not in set(FailureReason):
                yield node.lineno, text
