"""Cuts encoded lines into chunks, by bytes, and finds keys that occur twice; holds no more than one chunk."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator

import xxhash

from promptmill.config.errors import DuplicateKey
from promptmill.producers.contract.messages import VERSION, WITH_COPIES, Chunk, ChunkSize, compress
from promptmill.producers.pricing.tokens import Need, Tokens, total
from promptmill.producers.requests.encode import Line

MAX_REQUESTS = 10_000
_BUCKETS = 256


class Cutter:
    """Cuts lines into chunks, each closed before it would pass ``max_bytes``; a longer line travels alone.

    Their version is at least ``version``.
    """

    def __init__(self, max_bytes: int, version: int = VERSION) -> None:
        self._index = 0
        self._version = version
        self._filling = _Filling(max_bytes)

    def add(self, line: Line) -> Chunk | None:
        """Add a line; returns the chunk that it did not fit into."""
        return self._closed(self._filling.add(line))

    def close(self) -> Chunk | None:
        """Return what is held, if it is anything, as a chunk."""
        return self._closed(self._filling.take())

    def _closed(self, held: "_Held | None") -> Chunk | None:
        if held is None:
            return None
        chunk = _close(self._index, held, self._version)
        self._index += 1
        return chunk


def measure(lines: Iterable[Line], max_bytes: int) -> Iterator[tuple[ChunkSize, Tokens]]:
    """Yield the size and the tokens of each chunk that a ``Cutter`` would make."""
    filling = _Filling(max_bytes)
    for line in lines:
        if held := filling.add(line):
            yield _measured(held)
    if held := filling.take():
        yield _measured(held)


def _measured(held: "_Held") -> tuple[ChunkSize, Tokens]:
    return ChunkSize(len(held.data), held.size), total(held.needs)


class _Held:
    """The lines of one chunk: their data, the rows among them that are refused, what the others need, the last row."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.refused: list[int] = []
        self.needs: list[Need] = []
        self.copies = 0
        self.size = 0
        self.last_row = 0

    def add(self, line: Line) -> None:
        """Hold one more line."""
        row, _, data, refusal, need, is_copy = line
        self.data.append(data)
        self.size += len(data)
        self.last_row = row
        self.copies += is_copy
        if refusal:
            self.refused.append(row)
        else:
            self.needs.append(need)


class _Filling:
    """Holds the lines of one chunk until one more does not fit."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = _Held()

    def add(self, line: Line) -> _Held | None:
        """Add a line; returns what was held, if the line did not fit."""
        held = self._held
        is_full = held.size + len(line.data) > self._max_bytes or len(held.data) >= MAX_REQUESTS
        full = self.take() if is_full else None
        self._held.add(line)
        return full

    def take(self) -> _Held | None:
        """Give away what is held, if it is anything."""
        held, self._held = self._held, _Held()
        return held if held.data else None


def _close(index: int, held: _Held, version: int) -> Chunk:
    lines = b"".join(held.data)
    return Chunk(
        index=index,
        first_row=held.last_row - len(held.data) + 1,
        requests=len(held.data),
        size=len(lines),
        sha256=hashlib.sha256(lines).digest(),
        data=compress(lines),
        refused=held.refused,
        tokens=total(held.needs),
        copies=held.copies,
        v=max(version, WITH_COPIES if held.copies else VERSION),
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
