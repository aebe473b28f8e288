"""Cuts encoded lines into chunks, by bytes, and finds keys that occur twice; holds no more than one chunk."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator

import xxhash

from promptmill.config.errors import DuplicateKey
from promptmill.producers.messages import Chunk, compress
from promptmill.producers.requests import Line

MAX_REQUESTS = 10_000
_BUCKETS = 256


def cut(lines: Iterable[Line], max_bytes: int) -> Iterator[Chunk]:
    """Yield chunks of whole lines: each closed before it would pass ``max_bytes`` (a longer line travels alone)."""
    held: list[bytes] = []
    refused: list[int] = []
    size = index = row = 0
    for line in lines:
        if held and (size + len(line.data) > max_bytes or len(held) >= MAX_REQUESTS):
            yield _close(index, row - len(held) + 1, held, refused)
            held, refused, size, index = [], [], 0, index + 1
        held.append(line.data)
        size += len(line.data)
        row = line.row
        if line.refusal:
            refused.append(row)
    if held:
        yield _close(index, row - len(held) + 1, held, refused)


def _close(index: int, first_row: int, held: list[bytes], refused: list[int]) -> Chunk:
    lines = b"".join(held)
    return Chunk(
        index=index,
        first_row=first_row,
        requests=len(held),
        size=len(lines),
        sha256=hashlib.sha256(lines).digest(),
        data=compress(lines),
        refused=refused,
    )


class Keys:
    """The keys of a run so far, in 16 bytes each: hashes and rows, in buckets that are looked at one by one."""

    def __init__(self) -> None:
        self._hashes = [array("Q") for _ in range(_BUCKETS)]
        self._rows = [array("Q") for _ in range(_BUCKETS)]

    def watch(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Pass ``lines`` through, noting their keys."""
        for line in lines:
            self.note(line)
            yield line

    def note(self, line: Line) -> None:
        """Note the key of a line."""
        digest = xxhash.xxh3_64_intdigest(line.key.encode())
        self._hashes[digest & 0xFF].append(digest)
        self._rows[digest & 0xFF].append(line.row)

    def check(self) -> None:
        """Raise DuplicateKey, naming both rows, when a key occurred twice."""
        for row, first in self.repeats():
            raise DuplicateKey(f"row {row} has the same key as row {first}; give each row its own")

    def repeats(self) -> Iterator[tuple[int, int]]:
        """Yield every row whose key occurred before, in no order, and the first row that has it."""
        for hashes, rows in zip(self._hashes, self._rows, strict=True):
            if len(set(hashes)) < len(hashes):
                first: dict[int, int] = {}
                for digest, row in zip(hashes, rows, strict=True):
                    if first.setdefault(digest, row) != row:
                        yield row, first[digest]
