"""The log of a service."""

from pathlib import Path

import pytest

from promptmill.local import log
from promptmill.local.log import ServiceLog


def append(log: ServiceLog, text: str) -> None:
    with log.path.open("a") as file:
        file.write(text)


@pytest.fixture
def worker(tmp_path: Path) -> ServiceLog:
    worker = ServiceLog(tmp_path / "logs", "worker")
    worker.open_new()
    return worker


def test_only_what_was_printed_since_the_last_start_counts(worker: ServiceLog) -> None:
    append(worker, "ready, the first time\n")
    worker.mark_start()
    append(worker, "loading\n")

    assert worker.read_since_start() == "loading\n"


def test_the_tail_is_the_last_twenty_lines(worker: ServiceLog) -> None:
    worker.mark_start()
    append(worker, "".join(f"line {number}\n" for number in range(5000)))

    assert worker.read_tail().splitlines() == [f"line {number}" for number in range(4980, 5000)]


def test_the_log_of_the_stack_before_is_set_aside(worker: ServiceLog, tmp_path: Path) -> None:
    append(worker, "yesterday\n")

    ServiceLog(tmp_path / "logs", "worker").open_new()

    assert worker.path.read_text() == ""
    assert (tmp_path / "logs" / "worker.log.1").read_text() == "yesterday\n"


def test_a_log_that_grew_too_long_starts_anew_while_it_is_written(
    worker: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 10)
    with worker.path.open("ab", buffering=0) as writer:
        writer.write(b"0123456789")
        worker.limit_size()
        assert worker.path.stat().st_size == 10
        writer.write(b"too long")
        worker.limit_size()
        writer.write(b"goes on")

    assert worker.path.read_bytes() == b"goes on"
    assert worker.read_since_start() == "goes on"
    assert (tmp_path / "logs" / "worker.log.1").read_bytes() == b"0123456789too long"
