"""What every bucket promises: the one in memory, and Cloud Storage behind its adapter."""

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from promptmill.config.errors import Conflict, NotFound
from promptmill.workers.cli_support.open_object import read_object
from promptmill.workers.ports.google import Bucket, ObjectInfo

MIB = 1 << 20


def find(bucket: Bucket, name: str) -> ObjectInfo:
    stored = bucket.find(name)
    assert stored is not None
    return stored


def test_an_object_is_created_once_whatever_it_holds(bucket: Bucket) -> None:
    assert bucket.create("fact.json", b"first")

    assert not bucket.create("fact.json", b"second")
    assert not bucket.create("fact.json", b"first")
    assert bucket.read("fact.json") == b"first"


def test_of_many_creators_at_once_exactly_one_wins_and_what_it_wrote_stands(bucket: Bucket) -> None:
    start = threading.Barrier(8)

    def create(number: int) -> bool:
        start.wait()
        return bucket.create("intent", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))

    assert won.count(True) == 1
    assert bucket.read("intent") == b"%d" % won.index(True)


def test_of_many_replacers_at_once_exactly_one_wins(bucket: Bucket) -> None:
    bucket.create("lease", b"")
    generation = find(bucket, "lease").generation

    def replace(number: int) -> bool:
        try:
            bucket.replace("lease", b"%d" % number, generation)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(replace, range(6)))

    assert won.count(True) == 1
    assert bucket.read("lease") == b"%d" % won.index(True)


def test_an_object_is_replaced_only_in_the_generation_that_was_seen(bucket: Bucket) -> None:
    bucket.create("lease", b"a")
    seen = find(bucket, "lease").generation

    bucket.replace("lease", b"b", seen)

    with pytest.raises(Conflict, match="lease"):
        bucket.replace("lease", b"c", seen)
    assert bucket.read("lease") == b"b"
    assert find(bucket, "lease").generation != seen


def test_an_object_that_went_away_cannot_be_replaced(bucket: Bucket) -> None:
    bucket.create("lease", b"a")
    seen = find(bucket, "lease").generation
    bucket.delete("lease")

    with pytest.raises(Conflict):
        bucket.replace("lease", b"b", seen)
    assert bucket.find("lease") is None


def test_an_object_may_be_written_again(bucket: Bucket) -> None:
    bucket.write("results", b"old")
    bucket.write("results", b"new")

    assert bucket.read("results") == b"new"


def test_any_bytes_and_any_name_that_we_use_come_back(bucket: Bucket) -> None:
    data = bytes(range(256)) + "ü \u2028".encode()
    for name in ("runs/r/shards/0000/1/input.jsonl", "open/r", "with space", "ü-%41"):
        bucket.write(name, data)

        assert bucket.read(name) == data
        assert [stored.name for stored in bucket.list(name)] == [name]


def test_an_empty_object_is_an_object(bucket: Bucket) -> None:
    assert bucket.create("open/run", b"")

    assert bucket.read("open/run") == b""
    assert bucket.read_range("open/run", 0, 10, find(bucket, "open/run").generation) == b""
    assert find(bucket, "open/run").size == 0


def test_what_is_not_there_is_not_found_by_its_own_name(bucket: Bucket) -> None:
    assert bucket.find("nothing") is None
    with pytest.raises(NotFound, match=r"nothing does not exist$"):
        bucket.read("nothing")
    with pytest.raises(NotFound, match="nothing"):
        bucket.read_range("nothing", 0, 1, 1)


def test_what_is_known_of_an_object_is_its_size_its_generation_and_the_time_by_the_server(
    bucket: Bucket,
) -> None:
    before = time.time()
    bucket.write("a", b"12345")

    stored = find(bucket, "a")

    assert (stored.name, stored.size) == ("a", 5)
    assert stored.generation > 0
    assert before - 2 <= stored.updated <= time.time() + 2


def test_a_later_object_is_dated_later_and_has_another_generation(bucket: Bucket) -> None:
    bucket.write("a", b"1")
    first = find(bucket, "a")
    bucket.write("a", b"1")

    assert find(bucket, "a").generation != first.generation
    assert find(bucket, "a").updated >= first.updated


def test_objects_are_read_in_the_order_in_which_they_are_named(bucket: Bucket) -> None:
    names = [f"fact/{number}" for number in range(20)]
    for name in names:
        bucket.write(name, name.encode())
    backwards = names[::-1]

    assert list(bucket.read_each(iter(backwards))) == [name.encode() for name in backwards]
    assert list(bucket.read_each([])) == []


@pytest.mark.parametrize("missing", [2, 14])
def test_of_objects_that_are_read_one_that_is_not_there_is_not_found_at_its_turn(
    bucket: Bucket, missing: int
) -> None:
    names = [f"fact/{number}" for number in range(20)]
    for name in names:
        if name != names[missing]:
            bucket.write(name, name.encode())

    reading = bucket.read_each(names)

    assert [next(reading) for _ in range(missing)] == [name.encode() for name in names[:missing]]
    with pytest.raises(NotFound, match=f"{names[missing]} does not exist"):
        next(reading)


@pytest.mark.parametrize(
    ("start", "end", "data"),
    [(0, 3, b"012"), (3, 5, b"34"), (8, 100, b"89"), (10, 20, b""), (50, 60, b"")],
)
def test_a_range_is_cut_at_the_end_of_the_object(
    bucket: Bucket, start: int, end: int, data: bytes
) -> None:
    bucket.write("output", b"0123456789")

    assert bucket.read_range("output", start, end, find(bucket, "output").generation) == data


def test_a_range_of_a_generation_that_is_gone_is_not_found(bucket: Bucket) -> None:
    bucket.write("output", b"old")
    seen = find(bucket, "output").generation
    bucket.write("output", b"new")

    with pytest.raises(NotFound):
        bucket.read_range("output", 0, 3, seen)


def test_objects_are_listed_by_prefix_in_order_of_their_names(bucket: Bucket) -> None:
    for name in ("b/2", "b/10", "a", "c", "b/1"):
        bucket.write(name, name.encode())

    assert [stored.name for stored in bucket.list("b/")] == ["b/1", "b/10", "b/2"]
    assert [stored.name for stored in bucket.list("")] == ["a", "b/1", "b/10", "b/2", "c"]
    assert list(bucket.list("d")) == []
    assert next(iter(bucket.list("b/2"))) == find(bucket, "b/2")


def test_a_long_list_is_whole(bucket: Bucket) -> None:
    names = [f"many/{number:04d}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bucket.write(name, b""), names))

    assert [stored.name for stored in bucket.list("many/")] == names


def test_deleting_is_final_and_may_be_done_twice(bucket: Bucket) -> None:
    bucket.create("open/run", b"")
    bucket.delete("open/run")
    bucket.delete("open/run")

    assert bucket.find("open/run") is None
    assert list(bucket.list("open/")) == []
    assert bucket.create("open/run", b"")


@pytest.mark.parametrize(
    "sizes", [[], [0], [1, 2, 3], [4 * MIB], [4 * MIB, 1], [3 * MIB] * 3, [9 * MIB + 7]]
)
def test_a_stream_of_any_size_becomes_one_object(bucket: Bucket, sizes: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]

    assert bucket.write_stream("input.jsonl", iter(pieces)) == sum(sizes)

    assert bucket.read("input.jsonl") == b"".join(pieces)


@pytest.mark.parametrize("size", [10, 6 * MIB])
def test_nothing_is_visible_of_a_stream_that_breaks_off(bucket: Bucket, size: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * size
        yield b"y" * size
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        bucket.write_stream("input.jsonl", pieces())
    assert bucket.find("input.jsonl") is None


def test_a_stream_replaces_what_an_earlier_try_wrote(bucket: Bucket) -> None:
    bucket.write_stream("input.jsonl", [b"a" * (5 * MIB)])

    bucket.write_stream("input.jsonl", [b"b"])

    assert bucket.read("input.jsonl") == b"b"


def test_an_object_is_read_as_a_file_from_any_place_of_it(bucket: Bucket) -> None:
    data = bytes(range(256)) * (5 * MIB // 256)
    bucket.write("rows.bin", data)

    with read_object(bucket, "rows.bin") as file:
        assert file.read(10) == data[:10]
        assert file.seek(-7, io.SEEK_END) == len(data) - 7
        assert file.read() == data[-7:]
        file.seek(3)
        assert file.read() == data[3:]
        assert file.read() == b""


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed_with_the_other(
    bucket: Bucket,
) -> None:
    bucket.write("rows.bin", b"a" * (6 * MIB))

    with read_object(bucket, "rows.bin") as file:
        assert file.read(1) == b"a"
        bucket.write("rows.bin", b"b" * (6 * MIB))
        with pytest.raises(NotFound):
            file.read()


def test_an_object_that_is_not_there_cannot_be_read_as_a_file(bucket: Bucket) -> None:
    with pytest.raises(NotFound, match=r"none\.csv"):
        read_object(bucket, "none.csv")
