"""What is deleted of old runs, and what never is."""

import pytest

from promptmill.workers.facts import dead_letters
from promptmill.workers.supervision import gc
from support.driver import RUN, Mill

DAY = 86_400.0


def done() -> Mill:
    mill = Mill()
    mill.drive(mill.send(["a", "b"]))
    mill.bucket.write("answers/01jtest/0000-1-00000.jsonl", b"{}\n")
    return mill


def held(mill: Mill) -> set[str]:
    return {stored.name for stored in mill.bucket.list("")}


def test_a_run_that_ended_long_ago_is_deleted_and_nothing_else() -> None:
    mill = done()
    objects = [name for name in held(mill) if name.startswith("runs/")]
    mill.clock.now += 31 * DAY

    (old,) = gc.delete_old_runs(mill.bucket, 30 * DAY, dry_run=False)

    assert (old.run, old.objects) == (RUN, len(objects))
    assert old.size > 0
    assert held(mill) == {"answers/01jtest/0000-1-00000.jsonl"}


def test_a_dry_run_tells_the_same_and_deletes_nothing() -> None:
    mill = done()
    before = held(mill)
    mill.clock.now += 31 * DAY

    (told,) = gc.delete_old_runs(mill.bucket, 30 * DAY, dry_run=True)

    assert held(mill) == before
    assert told == next(gc.delete_old_runs(mill.bucket, 30 * DAY, dry_run=False))


def test_a_run_that_ended_lately_is_kept() -> None:
    mill = done()
    before = held(mill)
    mill.clock.now += 29 * DAY

    assert list(gc.delete_old_runs(mill.bucket, 30 * DAY, dry_run=False)) == []
    assert held(mill) == before


@pytest.mark.parametrize("why", ["open", "job given up", "dead letter", "not reported"])
def test_a_run_that_somebody_may_need_is_kept_however_old(why: str) -> None:
    mill = done()
    match why:
        case "open":
            mill.bucket.create(mill.folder().open_marker, b"")
        case "job given up":
            mill.bucket.create(mill.folder().attempt(0, 1).abandoned_marker, b"")
        case "dead letter":
            dead_letters.park_task(
                mill.bucket, f"{RUN}.callback", "promptmill.callback", [RUN], "no"
            )
        case _:
            mill.bucket.delete(mill.folder().report.name)
    before = held(mill)
    mill.clock.now += 365 * DAY

    assert list(gc.delete_old_runs(mill.bucket, 30 * DAY, dry_run=False)) == []
    assert held(mill) == before


def test_a_deletion_that_breaks_off_is_taken_up_again() -> None:
    mill = done()
    mill.clock.now += 31 * DAY
    real, left = mill.bucket.delete, [4]

    def breaks(name: str) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(name)

    mill.bucket.delete = breaks  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        list(gc.delete_old_runs(mill.bucket, 30 * DAY, dry_run=False))
    mill.bucket.delete = real  # type: ignore[method-assign]

    assert [old.run for old in gc.delete_old_runs(mill.bucket, 30 * DAY, dry_run=False)] == [RUN]
    assert held(mill) == {"answers/01jtest/0000-1-00000.jsonl"}
