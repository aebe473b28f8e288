"""Truncated or corrupted objects are detected, and affect no other run."""

import pytest

from faults.crashing import STRUCK, Crash
from faults.worker_group import WorkerGroup, WorkerGroups, behind
from support.proxy import HttpProxy
from support.waiting import PATIENCE, wait_until

WRITES = r"/upload/.*"
READS = r".*alt=media.*"
DAMAGED = "0" * 26


def test_a_body_that_is_cut_is_read_again_and_no_half_of_a_line_is_parsed(
    groups: WorkerGroups, storage: HttpProxy
) -> None:
    with groups.create_group("cut", behind(storage)) as group:
        storage.cut("GET", READS, after=700, times=12)
        through(group)

        assert len([call for call in storage.calls if call.fault == "cut"]) == 12


@pytest.mark.parametrize("calls", [("GET", READS), ("POST", WRITES)], ids=["read", "written"])
def test_a_byte_that_changes_on_its_way_is_noticed_and_never_stored_nor_parsed(
    groups: WorkerGroups, storage: HttpProxy, calls: tuple[str, str]
) -> None:
    """The output is read whole, because the service has no checksum for a range."""
    with groups.create_group(
        f"corrupt-{calls[0].lower()}", behind(storage) | {"PROMPTMILL_PART_BYTES": str(1 << 20)}
    ) as group:
        storage.corrupt(*calls, times=4)
        through(group)

        assert len([call for call in storage.calls if call.fault == "corrupt"]) == 4


def test_output_replaced_between_two_reads_is_divided_again(
    groups: WorkerGroups,
) -> None:
    with groups.create_group("replaced") as group:
        doomed = group.work(Crash("create runs/*/shards/*/*/parts.json", "after"))
        run = group.submit()
        wait_until(lambda: STRUCK in group.journal_lines(), "output that is divided into parts")
        doomed.join(PATIENCE)
        for stored in group.bucket.list(f"runs/{run.id}/shards/"):
            if stored.name.endswith("predictions.jsonl"):
                lines = group.bucket.read(stored.name).splitlines(keepends=True)
                group.bucket.write(
                    stored.name, b"".join(line.replace(b"word", b"w") for line in reversed(lines))
                )
        group.work()
        group.wait(run)

        assert group.violations(run) == []
        assert group.parked() == []
        assert len(group.stack.jobs(run.id)) == 2


def test_a_run_whose_facts_are_damaged_keeps_no_other_from_being_mended(
    groups: WorkerGroups,
) -> None:
    with groups.create_group("damaged") as group:
        group.bucket.write(
            "open/!", b""
        )  # no run at all, such as the "open/" by which Google's console makes a folder
        group.bucket.write(f"open/{DAMAGED}", b"")
        group.bucket.write(f"runs/{DAMAGED}/run.json", b"no run")
        group.work()
        run = group.submit()
        wait_until(lambda: group.stack.jobs(run.id), "the first job")
        group.redis.flushdb()
        group.wait(run)

        assert group.violations(run) == []


def through(group: WorkerGroup) -> None:
    """Complete a run."""
    group.work()
    run = group.submit()
    group.wait(run)
    assert group.violations(run) == []
