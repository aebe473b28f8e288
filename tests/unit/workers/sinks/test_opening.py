"""Results reach a sink exactly once, however often they are delivered."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path

import pytest

from promptmill.config.errors import ConfigurationError, Permanent
from promptmill.workers.fakes import MemoryBucket
from promptmill.workers.sinks.files import BucketSink, FileSink

PARTS = {"0000-1-00000": b'{"a":1}\n', "0000-1-00001": b"", "0001-1-00000": b'{"a":2}\n{"a":3}\n'}
WHOLE = b"".join(PARTS.values())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "out" / "results.jsonl"


def deliver_all(sink: FileSink | BucketSink) -> None:
    for part, lines in PARTS.items():
        sink.deliver(part, lines)


@pytest.mark.parametrize("order", list(permutations(PARTS)))
def test_a_file_has_the_parts_in_the_order_of_the_run_however_they_came(
    file: Path, order: tuple[str, ...]
) -> None:
    sink = FileSink(file, "run")
    for part in (*order, *order):
        sink.deliver(part, PARTS[part])

    assert sink.finish(list(PARTS)) == str(file)
    assert file.read_bytes() == WHOLE


def test_a_file_is_not_there_before_the_run_ends(file: Path) -> None:
    sink = FileSink(file, "run")
    sink.check()
    deliver_all(sink)

    assert not file.exists()


def test_finishing_again_changes_nothing_and_nothing_is_left_beside_the_file(file: Path) -> None:
    for _ in range(3):
        sink = FileSink(file, "run")
        if not file.exists():
            deliver_all(sink)
        sink.finish(list(PARTS))

    assert file.read_bytes() == WHOLE
    assert [path.name for path in file.parent.iterdir()] == ["results.jsonl"]


def test_many_who_finish_at_once_leave_the_whole_file(file: Path) -> None:
    for _ in range(20):
        sink = FileSink(file, "run")
        deliver_all(sink)
        start = threading.Barrier(4)

        def finish(_: int, sink: FileSink = sink, start: threading.Barrier = start) -> str:
            start.wait()
            return sink.finish(list(PARTS))

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(finish, range(4))) == {str(file)}
        assert file.read_bytes() == WHOLE


def test_a_file_that_a_crash_left_half_joined_is_joined_anew(file: Path) -> None:
    sink = FileSink(file, "run")
    deliver_all(sink)
    (file.with_name(".results.jsonl.run") / "whole.0000").write_bytes(b"half")

    sink.finish(list(PARTS))

    assert file.read_bytes() == WHOLE


def test_a_part_that_is_missing_is_an_error_not_a_gap(file: Path) -> None:
    sink = FileSink(file, "run")
    sink.deliver("0000-1-00000", b"{}\n")

    with pytest.raises(Permanent, match="0000-1-00001"):
        sink.finish(list(PARTS))
    assert not file.exists()


def test_two_runs_into_one_file_do_not_mix(file: Path) -> None:
    first, second = FileSink(file, "one"), FileSink(file, "two")
    first.deliver("0000-1-00000", b"first\n")
    second.deliver("0000-1-00000", b"second\n")

    first.finish(["0000-1-00000"])
    second.finish(["0000-1-00000"])

    assert file.read_bytes() == b"second\n"


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_paid_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "taken").write_bytes(b"")

    with pytest.raises(ConfigurationError, match="cannot be written"):
        FileSink(tmp_path / "taken" / "out.jsonl", "run").check()


def test_a_bucket_has_one_object_for_each_part() -> None:
    bucket = MemoryBucket("gs://acme/out")
    sink = BucketSink(bucket, "run")
    sink.check()
    for _ in range(2):
        deliver_all(sink)

    assert sink.finish(list(PARTS)) == "gs://acme/out/run/"
    assert {stored.name: bucket.read(stored.name) for stored in bucket.list("")} == {
        f"run/{part}.jsonl": lines for part, lines in PARTS.items()
    }


def test_nothing_is_written_through_a_link_that_somebody_else_put_there(
    file: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file.parent.mkdir()
    file.with_name(f".{file.name}.run").symlink_to(elsewhere)

    sink = FileSink(file, "run")
    with pytest.raises(ConfigurationError, match="is a link"):
        sink.check()
    with pytest.raises(ConfigurationError, match="is a link"):
        deliver_all(sink)
    assert list(elsewhere.iterdir()) == []


def test_no_other_file_is_read_through_a_link_in_place_of_a_part(
    file: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    sink = FileSink(file, "run")
    deliver_all(sink)
    part = file.with_name(f".{file.name}.run") / "0000-1-00000.jsonl"
    part.unlink()
    part.symlink_to(secret)

    with pytest.raises(Permanent, match=r"(?i)too many.*links"):
        sink.finish(list(PARTS))
    assert not file.exists()
