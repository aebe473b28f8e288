"""Which objects of old runs are deleted, and which never are."""

import pytest

from promptmill.workers.facts import dead_letters
from promptmill.workers.supervision import gc
from support.fake_pipeline import RUN, FakePipeline

DAY = 86_400.0


def done() -> FakePipeline:
    pipeline = FakePipeline()
    pipeline.drive(pipeline.send(["a", "b"]))
    pipeline.bucket.write("answers/01jtest/0000-1-00000.jsonl", b"{}\n")
    return pipeline


def held(pipeline: FakePipeline) -> set[str]:
    return {stored.name for stored in pipeline.bucket.list("")}


def test_a_run_that_ended_long_ago_is_deleted_and_nothing_else() -> None:
    pipeline = done()
    objects = [name for name in held(pipeline) if name.startswith("runs/")]
    pipeline.clock.now += 31 * DAY

    (old,) = gc.delete_old_runs(pipeline.bucket, 30 * DAY)

    assert (old.run, old.objects) == (RUN, len(objects))
    assert old.size > 0
    assert held(pipeline) == {"answers/01jtest/0000-1-00000.jsonl"}


def test_a_dry_run_finds_the_same_runs_and_deletes_nothing() -> None:
    pipeline = done()
    before = held(pipeline)
    pipeline.clock.now += 31 * DAY

    (old_run,) = gc.find_old_runs(pipeline.bucket, 30 * DAY)

    assert held(pipeline) == before
    assert old_run == next(gc.delete_old_runs(pipeline.bucket, 30 * DAY))


def test_a_run_that_ended_recently_is_kept() -> None:
    pipeline = done()
    before = held(pipeline)
    pipeline.clock.now += 29 * DAY

    assert list(gc.delete_old_runs(pipeline.bucket, 30 * DAY)) == []
    assert held(pipeline) == before


@pytest.mark.parametrize("why", ["open", "abandoned job", "dead letter", "not reported"])
def test_a_run_that_is_still_needed_is_kept_however_old(why: str) -> None:
    pipeline = done()
    match why:
        case "open":
            pipeline.bucket.create(pipeline.folder().open_marker, b"")
        case "abandoned job":
            pipeline.bucket.create(pipeline.folder().attempt(0, 1).abandoned_marker, b"")
        case "dead letter":
            dead_letters.park_task(
                pipeline.bucket, f"{RUN}.callback", "promptmill.callback", [RUN], "no"
            )
        case _:
            pipeline.bucket.delete(pipeline.folder().report.name)
    before = held(pipeline)
    pipeline.clock.now += 365 * DAY

    assert list(gc.delete_old_runs(pipeline.bucket, 30 * DAY)) == []
    assert held(pipeline) == before


def test_an_interrupted_deletion_is_resumed() -> None:
    pipeline = done()
    pipeline.clock.now += 31 * DAY
    real, left = pipeline.bucket.delete, [4]

    def breaks(name: str) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(name)

    pipeline.bucket.delete = breaks  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        list(gc.delete_old_runs(pipeline.bucket, 30 * DAY))
    pipeline.bucket.delete = real  # type: ignore[method-assign]

    assert [old.run for old in gc.delete_old_runs(pipeline.bucket, 30 * DAY)] == [RUN]
    assert held(pipeline) == {"answers/01jtest/0000-1-00000.jsonl"}
