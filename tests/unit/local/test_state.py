"""What others can know about the stack of a directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from promptmill.local import AlreadyRunning
from promptmill.local.state import (
    ServiceState,
    StackState,
    lock_directory,
    process_start_time,
    read_state,
    remove_state,
    wait_until_free,
    write_state,
)


def state_of(pid: int, started: str) -> StackState:
    services = {"redis": ServiceState("ready", pid=4711, port=6379, url="redis://127.0.0.1:6379/0")}
    return StackState(
        pid, started, "/somewhere", {"CELERY_BROKER_URL": "redis://127.0.0.1:6379/0"}, services
    )


def test_the_state_of_a_live_supervisor_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = state_of(os.getpid(), process_start_time(os.getpid()) or "")

    write_state(tmp_path, written)

    assert read_state(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


def test_a_directory_without_a_stack_has_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "nowhere") is None
    remove_state(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}'])
def test_a_file_that_is_not_ours_counts_as_no_state(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stack.json").write_bytes(content)

    assert read_state(tmp_path) is None


def test_the_state_of_a_supervisor_that_ended_does_not_count_even_if_its_pid_is_in_use_again(
    tmp_path: Path,
) -> None:
    write_state(tmp_path, state_of(os.getpid(), "at another time"))

    assert read_state(tmp_path) is None


def test_a_process_has_one_start_and_none_after_its_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        first, again = process_start_time(process.pid), process_start_time(process.pid)
        process.communicate(b"\n")

    assert first is not None
    assert first == again
    assert process_start_time(process.pid) is None


def test_only_one_stack_has_a_directory_and_the_other_is_told_whose_it_is(tmp_path: Path) -> None:
    with lock_directory(tmp_path):
        write_state(tmp_path, state_of(os.getpid(), process_start_time(os.getpid()) or ""))

        with (
            pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"),
            lock_directory(tmp_path),
        ):
            pass
        assert not wait_until_free(tmp_path, timeout=0)

    assert wait_until_free(tmp_path, timeout=0)
