"""Splits encoded lines into chunks, and finds duplicate keys. Holds one chunk at a
time.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator

import xxhash

from promptmill.config.errors import DuplicateKey
from promptmill.producers.contract.messages import (
    DEDUPLICATED_CHUNK_VERSION,
    VERSION,
    Chunk,
    ChunkSize,
    compress_lines,
)
from promptmill.producers.pricing.tokens import RequestTokens, TokenTotals, sum_tokens
from promptmill.producers.requests.request_line import RequestLine

MAX_CHUNK_REQUESTS = 10_000
_HASH_BUCKETS = 256


class Chunker:
    """Splits lines into chunks of at most ``max_bytes``.

    A longer line gets its own chunk. The version of a chunk is at least
    ``version``.
    """

    def __init__(self, max_bytes: int, version: int = VERSION) -> None:
        self._next_index = 0
        self._version = version
        self._buffer = _ChunkBuffer(max_bytes)

    def add_line(self, line: RequestLine) -> Chunk | None:
        """Add a line; return the previous chunk if the line did not fit into it."""
        return self._next_chunk(self._buffer.add_line(line))

    def close_chunk(self) -> Chunk | None:
        """Return the pending lines as a chunk, if there are any."""
        return self._next_chunk(self._buffer.take_pending())

    def _next_chunk(self, pending: "_PendingChunk | None") -> Chunk | None:
        if pending is None:
            return None
        chunk = _build_chunk(self._next_index, pending, self._version)
        self._next_index += 1
        return chunk


def measure_chunks(
    lines: Iterable[RequestLine], max_bytes: int
) -> Iterator[tuple[ChunkSize, TokenTotals]]:
    """Yield the size and the tokens of each chunk that ``Chunker`` would make."""
    buffer = _ChunkBuffer(max_bytes)
    for line in lines:
        if pending := buffer.add_line(line):
            yield _measure_chunk(pending)
    if pending := buffer.take_pending():
        yield _measure_chunk(pending)


def _measure_chunk(pending: "_PendingChunk") -> tuple[ChunkSize, TokenTotals]:
    return ChunkSize(len(pending.lines), pending.size), sum_tokens(pending.request_tokens)


class _PendingChunk:
    """The lines of one chunk, its invalid rows, and the tokens of its other rows."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.refused_rows: list[int] = []
        self.request_tokens: list[RequestTokens] = []
        self.repeats = 0
        self.size = 0
        self.last_row = 0

    def add_line(self, line: RequestLine) -> None:
        """Append a line; a refused row has no tokens."""
        row, _, data, refusal, request_tokens, is_repeat, _ = line
        self.lines.append(data)
        self.size += len(data)
        self.last_row = row
        self.repeats += is_repeat
        if refusal:
            self.refused_rows.append(row)
        else:
            self.request_tokens.append(request_tokens)


class _ChunkBuffer:
    """Holds the lines of one chunk until one more does not fit."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending = _PendingChunk()

    def add_line(self, line: RequestLine) -> _PendingChunk | None:
        """Add a line; return the pending chunk if the line did not fit into it."""
        pending = self._pending
        is_full = (
            pending.size + len(line.data) > self._max_bytes
            or len(pending.lines) >= MAX_CHUNK_REQUESTS
        )
        full = self.take_pending() if is_full else None
        self._pending.add_line(line)
        return full

    def take_pending(self) -> _PendingChunk | None:
        """Return and clear the pending chunk, if it has lines."""
        pending, self._pending = self._pending, _PendingChunk()
        return pending if pending.lines else None


def _build_chunk(index: int, pending: _PendingChunk, version: int) -> Chunk:
    content = b"".join(pending.lines)
    return Chunk(
        index=index,
        first_row=pending.last_row - len(pending.lines) + 1,
        requests=len(pending.lines),
        size=len(content),
        sha256=hashlib.sha256(content).digest(),
        data=compress_lines(content),
        refused=pending.refused_rows,
        tokens=sum_tokens(pending.request_tokens),
        deduplicated=pending.repeats,
        v=max(version, DEDUPLICATED_CHUNK_VERSION if pending.repeats else VERSION),
    )


class KeyRegistry:
    """The keys of a run so far: a hash and a row, 16 bytes per key.

    They are kept in buckets, so that duplicates are found one bucket at a time.
    """

    def __init__(self) -> None:
        self._hashes = [array("Q") for _ in range(_HASH_BUCKETS)]
        self._rows = [array("Q") for _ in range(_HASH_BUCKETS)]

    def record_lines(self, lines: Iterable[RequestLine]) -> Iterator[RequestLine]:
        """Yield the lines unchanged, and record their keys."""
        for line in lines:
            self.record_key(line)
            yield line

    def record_key(self, line: RequestLine) -> None:
        """Record the key of a line."""
        digest = xxhash.xxh3_64_intdigest(line.key.encode())
        self._hashes[digest & 0xFF].append(digest)
        self._rows[digest & 0xFF].append(line.row)

    def check_unique(self) -> None:
        """Raise DuplicateKey with both rows if a key occurs twice."""
        for row, first_row in self.find_duplicates():
            raise DuplicateKey(
                f"row {row} has the same key as row {first_row}; give each row its own key "
                "(a row without a key has its row number)"
            )

    def find_duplicates(self) -> Iterator[tuple[int, int]]:
        """Yield each row with a duplicate key, and the first row with that key."""
        for hashes, rows in zip(self._hashes, self._rows, strict=True):
            if len(set(hashes)) < len(hashes):
                first_rows: dict[int, int] = {}
                for digest, row in zip(hashes, rows, strict=True):
                    if first_rows.setdefault(digest, row) != row:
                        yield row, first_rows[digest]
