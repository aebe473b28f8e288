"""Lines are cut into chunks: every row once, in order, none too large, and no key twice."""

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.config.errors import DuplicateKey
from promptmill.producers.requests.chunks import MAX_CHUNK_REQUESTS, KeyRegistry
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.requests.request_line import RequestLine
from support.chunking import cut

LINES = st.lists(st.tuples(st.integers(1, 200), st.booleans()), max_size=60).map(
    lambda rows: [
        RequestLine(
            row,
            str(row),
            random.Random(row).randbytes(size).replace(b"\n", b"x") + b"\n",
            "bad" if bad else "",
        )
        for row, (size, bad) in enumerate(rows, 1)
    ]
)


@settings(max_examples=200)
@given(LINES, st.integers(1, 500))
def test_every_line_is_in_one_chunk_in_order_and_no_chunk_is_too_large(
    lines: list[RequestLine], max_bytes: int
) -> None:
    chunks = list(cut(lines, max_bytes))

    assert b"".join(chunk.decompress_lines() for chunk in chunks) == b"".join(
        line.data for line in lines
    )
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    row = 1
    for chunk in chunks:
        assert chunk.first_row == row
        assert chunk.size <= max_bytes or chunk.requests == 1
        assert chunk.size == len(chunk.decompress_lines())
        assert chunk.sha256 == hashlib.sha256(chunk.decompress_lines()).digest()
        row += chunk.requests
    assert row == len(lines) + 1
    assert [row for chunk in chunks for row in chunk.refused] == [
        line.row for line in lines if line.refusal
    ]
    assert all(
        chunk.first_row <= row < chunk.first_row + chunk.requests
        for chunk in chunks
        for row in chunk.refused
    )


@given(LINES, st.integers(1, 500))
def test_the_same_lines_make_the_same_chunks(lines: list[RequestLine], max_bytes: int) -> None:
    assert list(cut(lines, max_bytes)) == list(cut(lines, max_bytes))


@pytest.mark.parametrize("text", ["a" * 1_000_000, "word " * 300_000, "\n" * 100_000 + "."])
def test_a_prompt_that_repeats_itself_is_a_chunk_that_is_accepted(text: str) -> None:
    lines = list(encode_lines("r", [text, "b"], 10 << 20))

    chunks = list(cut(lines, 512 * 1024))

    assert b"".join(chunk.decompress_lines() for chunk in chunks) == lines[0].data + lines[1].data


def test_a_chunk_has_a_limit_of_requests_too() -> None:
    lines = [RequestLine(row, str(row), b"{}\n") for row in range(1, MAX_CHUNK_REQUESTS + 2)]

    assert [chunk.requests for chunk in cut(lines, 1 << 30)] == [MAX_CHUNK_REQUESTS, 1]


def test_chunks_are_cut_while_the_lines_come() -> None:
    def lines() -> Iterator[RequestLine]:
        yield RequestLine(1, "1", b"x" * 100)
        yield RequestLine(2, "2", b"x" * 100)
        raise AssertionError("all lines were asked for before the first chunk was there")

    assert next(cut(lines(), 50)).requests == 1


@given(st.lists(st.text(max_size=3), max_size=50))
def test_a_key_that_occurs_twice_is_found_and_both_rows_are_named(found: list[str]) -> None:
    keys = KeyRegistry()
    lines = [RequestLine(row, key, b"") for row, key in enumerate(found, 1)]

    assert list(keys.record_lines(lines)) == lines

    if len(set(found)) == len(found):
        keys.check_unique()
    else:
        with pytest.raises(DuplicateKey) as caught:
            keys.check_unique()
        rows = [int(word) for word in str(caught.value).replace(";", "").split() if word.isdigit()]
        assert found[rows[0] - 1] == found[rows[1] - 1]
        assert rows[0] > rows[1]


def test_threads_that_cut_at_once_do_not_spoil_each_others_chunks() -> None:
    def cut_one(seed: int) -> bool:
        data = random.Random(seed).randbytes(200_000).hex().encode() + b"\n"
        [chunk] = cut([RequestLine(1, "1", data, "")], len(data))
        return chunk.decompress_lines() == data

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(cut_one, range(200)))
