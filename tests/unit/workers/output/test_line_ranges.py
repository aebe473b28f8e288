"""Every line of an output file is read exactly once, however the file is divided."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from promptmill.workers.facts.records import PartRange
from promptmill.workers.fakes import MemoryBucket
from promptmill.workers.output import line_ranges
from promptmill.workers.output.line_ranges import read_lines
from promptmill.workers.ports.google import ObjectInfo
from promptmill.workers.steps.collect import split_file

CONTENT = st.one_of(
    st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from(
        [b"", b"\r", b"{}\r", "\u2028\u2029\x85".encode(), b"\x0b\x0c\x1c", b"\xff\xfe", b"x" * 300]
    ),
)


def read(data: bytes, part_bytes: int) -> list[tuple[int, bytes]]:
    bucket = MemoryBucket()
    bucket.write("out", data)
    stored = bucket.find("out")
    assert stored is not None
    return [line for piece in split_file(stored, part_bytes) for line in read_lines(bucket, piece)]


def numbered(data: bytes) -> list[tuple[int, bytes]]:
    """The lines that are not empty, with their offsets, by the plainest means."""
    found, offset = [], 0
    for line in data.split(b"\n"):
        if line:
            found.append((offset, line))
        offset += len(line) + 1
    return found


@settings(max_examples=300)
@given(held=st.lists(CONTENT, max_size=12), final=st.booleans(), part_bytes=st.integers(1, 700))
@example(held=[], final=False, part_bytes=1)
@example(held=[b"a"], final=False, part_bytes=1)
def test_every_line_is_read_once_whatever_the_parts(
    held: list[bytes], final: bool, part_bytes: int
) -> None:
    data = b"\n".join(held) + (b"\n" if final else b"")

    assert read(data, part_bytes) == numbered(data)


@pytest.mark.parametrize("part_bytes", [1, 1000, 70_000, 1 << 20])
def test_a_line_longer_than_any_read_is_read_once(
    part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_ranges, "_MARGIN", 64)
    data = b"a" * 500 + b"\n" + b"b" * 5_000 + b"\n" + b"c" * 100
    if part_bytes == 1:
        data = data[:900]

    assert read(data, part_bytes) == numbered(data)


@given(size=st.integers(0, 10_000), part_bytes=st.integers(1, 3000))
def test_a_file_is_divided_without_gap_or_overlap_into_parts_of_about_one_size(
    size: int, part_bytes: int
) -> None:
    parts = split_file(ObjectInfo("f", size, 7, 0.0), part_bytes)

    ends = [0, *(part.end for part in parts)]
    assert [part.start for part in parts] == ends[:-1]
    assert ends[-1] == size
    assert all(0 < part.end - part.start <= part_bytes and part.generation == 7 for part in parts)


def test_a_part_of_a_generation_that_is_gone_is_not_read() -> None:
    bucket = MemoryBucket()
    bucket.write("out", b"{}\n")

    with pytest.raises(Exception, match="generation"):
        list(read_lines(bucket, PartRange("out", 99, 0, 3)))
