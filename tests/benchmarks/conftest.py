"""Measurements, made only when asked for: `make bench`, or `pytest tests/benchmarks --bench`."""

from pathlib import Path

import pytest

from support.measurement import Rows, Tell, show


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bench", action="store_true", help="make the measurements; they take many minutes"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--bench", default=False):
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(
                pytest.mark.skip(reason="a measurement: pytest tests/benchmarks --bench")
            )


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Show what was measured, also when the test passes."""

    def tell(title: str, rows: Rows) -> None:
        with capsys.disabled():
            show(title, rows)

    return tell
