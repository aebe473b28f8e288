"""What tests of the tasks share."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def celerys_log() -> Iterator[None]:
    """Keep Celery's log as loud as it was: the tasks of a simulation quiet it."""
    log = logging.getLogger("celery")
    level = log.level
    yield
    log.setLevel(level)
