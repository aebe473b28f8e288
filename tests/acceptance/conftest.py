"""One local stack for all acceptance tests, with every service as a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from promptmill.producers import Promptmill
from support.local_stack import QUICK, LocalStack, running, surroundings

SMALL = {"PROMPTMILL_MAX_REQUESTS_PER_JOB": "2000", "PROMPTMILL_PART_BYTES": "262144"}
"""Limits that make several shards and parts of a run that a test can afford."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    settings = (
        QUICK
        | SMALL
        | {
            "FLOWER_UNAUTHENTICATED_API": "true",
            "PROMPTMILL_SOURCES": "gs://promptmill-local/rows/",
        }
    )
    with running(tmp_path_factory.mktemp("stack"), settings=settings) as stack:
        yield stack


@pytest.fixture
def mill(stack: LocalStack) -> Iterator[Promptmill]:
    """A producer on the stack, whose emulator does nothing wrong unless the test asks for it."""
    with surroundings(stack.environment):
        yield Promptmill()
    stack.clear_faults()


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Where the local sink of a test writes."""
    return tmp_path / "answers.jsonl"
