"""A step waits and logs it when the disk is full or file descriptors run out."""

import resource
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

from faults.invariants import observe, violations
from faults.worker_group import WorkerGroup, WorkerGroups
from promptmill.producers import Run
from promptmill.producers.contract import sink_specs
from support.local_stack import read_results
from support.waiting import wait_until

SIZE = 256 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_workers_wait_for_space_on_a_full_disk_and_leave_no_partial_file(
    groups: WorkerGroups, small_disk: Path
) -> None:
    answers = small_disk / "answers.jsonl"
    with groups.create_group("disk-full") as group:
        group.work()
        run = group.submit(sinks=[sink_specs.jsonl(answers)])
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        filler = fill(small_disk)
        wait_until(lambda: delivery_waits(group), "a delivery that waits for room")
        assert not answers.exists()
        filler.unlink()
        whole(group, run, answers)
        assert [path.name for path in small_disk.iterdir()] == [answers.name]


def test_workers_wait_for_free_file_descriptors(groups: WorkerGroups) -> None:
    with groups.create_group("no-descriptors") as group:
        worker = psutil.Process(group.work().pid)
        run = group.submit(sinks=[sink_specs.jsonl(group.answers)])
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        before = worker.rlimit(resource.RLIMIT_NOFILE)
        worker.rlimit(resource.RLIMIT_NOFILE, (lowest_free(worker.pid), before[1]))
        wait_until(lambda: delivery_waits(group), "a delivery that waits for a descriptor")
        worker.rlimit(resource.RLIMIT_NOFILE, before)
        whole(group, run, group.answers)


def lowest_free(process: int) -> int:
    """Return the next file descriptor of a process."""
    used = {int(descriptor.name) for descriptor in Path(f"/proc/{process}/fd").iterdir()}
    return next(number for number in count() if number not in used)


def fill(disk: Path) -> Path:
    """Write until the disk is full."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out:
        try:
            while out.write(b"x" * 4096):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk has no end")


def delivery_waits(group: WorkerGroup) -> bool:
    """Return whether a worker logs that it retries a sink."""
    return group.tries_again("deliver|finish", "cannot be written now")


def whole(group: WorkerGroup, run: Run, answers: Path) -> None:
    """Wait for the end of a run, and check it."""
    group.wait(run)
    rows = {"the file": read_results(answers)}
    assert violations(observe(run, map(str, range(1, 11)), group.stack.jobs, rows)) == []
    assert group.parked() == []
