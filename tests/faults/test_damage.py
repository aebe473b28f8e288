"""What storage holds or hands out is cut, changed or no fact of ours: it is noticed, and costs nobody else anything."""

import pytest

from faults.crashing import STRUCK, Crash
from faults.mills import Mill, Mills, behind
from support.proxy import HttpProxy
from support.waiting import PATIENCE, wait_until

WRITES = r"/upload/.*"
READS = r".*alt=media.*"
DAMAGED = "0" * 26


def test_a_body_that_is_cut_is_read_again_and_no_half_of_a_line_is_parsed(
    mills: Mills, storage: HttpProxy
) -> None:
    with mills.mill("cut", behind(storage)) as mill:
        storage.cut("GET", READS, after=700, times=12)
        through(mill)

        assert len([call for call in storage.calls if call.fault == "cut"]) == 12


@pytest.mark.parametrize("calls", [("GET", READS), ("POST", WRITES)], ids=["read", "written"])
def test_a_byte_that_changes_on_its_way_is_noticed_and_never_stored_nor_parsed(
    mills: Mills, storage: HttpProxy, calls: tuple[str, str]
) -> None:
    """Output is read whole here: the service has no checksum for a range."""
    with mills.mill(
        f"corrupt-{calls[0].lower()}", behind(storage) | {"PROMPTMILL_PART_BYTES": str(1 << 20)}
    ) as mill:
        storage.corrupt(*calls, times=4)
        through(mill)

        assert len([call for call in storage.calls if call.fault == "corrupt"]) == 4


def test_output_that_is_replaced_between_two_reads_is_divided_anew_and_no_generations_mix(
    mills: Mills,
) -> None:
    with mills.mill("replaced") as mill:
        doomed = mill.work(Crash("create runs/*/shards/*/*/parts.json", "after"))
        run = mill.submit()
        wait_until(lambda: STRUCK in mill.journal_lines(), "output that is divided into parts")
        doomed.join(PATIENCE)
        for stored in mill.bucket.list(f"runs/{run.id}/shards/"):
            if stored.name.endswith("predictions.jsonl"):
                lines = mill.bucket.read(stored.name).splitlines(keepends=True)
                mill.bucket.write(
                    stored.name, b"".join(line.replace(b"word", b"w") for line in reversed(lines))
                )
        mill.work()
        mill.wait(run)

        assert mill.violations(run) == []
        assert mill.parked() == []
        assert len(mill.site.jobs(run.id)) == 2


def test_a_run_whose_facts_are_damaged_keeps_no_other_from_being_mended(mills: Mills) -> None:
    with mills.mill("damaged") as mill:
        mill.bucket.write(
            "open/!", b""
        )  # no run at all, such as the "open/" by which Google's console makes a folder
        mill.bucket.write(f"open/{DAMAGED}", b"")
        mill.bucket.write(f"runs/{DAMAGED}/run.json", b"no run")
        mill.work()
        run = mill.submit()
        wait_until(lambda: mill.site.jobs(run.id), "the first job")
        mill.redis.flushdb()
        mill.wait(run)

        assert mill.violations(run) == []


def through(mill: Mill) -> None:
    """Bring a run to its end."""
    mill.work()
    run = mill.submit()
    mill.wait(run)
    assert mill.violations(run) == []
