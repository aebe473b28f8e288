"""The contract between producers and workers: what a message and a run's own objects hold.

Every struct has a version; unknown fields are ignored, so that a newer producer can talk to an older worker. The
ingest message is msgpack, everything else JSON.
"""

from typing import Any, TypeVar

import msgspec
import zstandard

from promptmill.config.errors import MessageRefused

VERSION = 1
MAX_CHUNK = 32 << 20
"""No chunk is larger than this before compression; a decompressor that passes it is being attacked."""
MAX_RATIO = 200

T = TypeVar("T", bound=msgspec.Struct)
_compressor = zstandard.ZstdCompressor(level=1, write_content_size=True)


class SinkSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where results go: the ``kind`` of sink, its ``url``, and options of that kind."""

    kind: str
    url: str
    options: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run as opened; ``created`` in seconds since the epoch."""

    run: str
    model: str
    created: float
    name: str = ""
    labels: dict[str, str] = {}
    sinks: list[SinkSpec] = []
    idempotent: bool = False
    max_attempts: int = 3
    v: int = VERSION

    def content(self) -> "Manifest":
        """Return what must be equal when the same idempotency key comes again."""
        return msgspec.structs.replace(self, created=0.0)


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests ``first_row`` … ``first_row + requests - 1`` of a run, as compressed wire lines.

    ``size`` and ``sha256`` are of the lines before compression; ``refused`` has the rows that are not to be sent.
    """

    index: int
    first_row: int
    requests: int
    size: int
    sha256: bytes
    data: bytes
    refused: list[int] = []
    v: int = VERSION

    def lines(self) -> bytes:
        """Return the wire lines; raises MessageRefused when the data is not what the chunk says."""
        if not 0 <= self.size <= MAX_CHUNK or self.size > MAX_RATIO * max(len(self.data), 64):
            raise MessageRefused(f"chunk {self.index} declares {self.size:,} bytes in {len(self.data):,}")
        try:
            lines = _decompress(self.data, self.size)
        except zstandard.ZstdError:
            raise MessageRefused(f"chunk {self.index} cannot be decompressed") from None
        if len(lines) != self.size or lines.count(b"\n") != self.requests:
            raise MessageRefused(f"chunk {self.index} does not hold what it says")
        return lines


def _decompress(data: bytes, most: int) -> bytes:
    """Decompress at most ``most`` bytes; zstandard heeds that only in a frame that does not tell its own size."""
    if zstandard.get_frame_parameters(data).content_size not in (most, zstandard.CONTENTSIZE_UNKNOWN):
        raise zstandard.ZstdError("the frame is of another size than the chunk")
    return zstandard.ZstdDecompressor(max_window_size=MAX_CHUNK).decompress(
        data, max_output_size=most, allow_extra_data=False
    )


class ChunkSize(msgspec.Struct, frozen=True, array_like=True):
    """How many requests and bytes a chunk has, before compression."""

    requests: int
    size: int


class Seal(msgspec.Struct, frozen=True):
    """The end of a run's input: the size of each chunk."""

    chunks: list[ChunkSize]

    @property
    def requests(self) -> int:
        """Number of requests in the run."""
        return sum(chunk.requests for chunk in self.chunks)


class Ingest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message of ``promptmill.ingest``: an encoded chunk, its run, and with the last one the seal."""

    run: Manifest
    chunk: bytes
    seal: Seal | None = None
    v: int = VERSION


def compress(lines: bytes) -> bytes:
    """Compress wire lines for a chunk."""
    return _compressor.compress(lines)


def encode(message: msgspec.Struct) -> bytes:
    """Encode a message or chunk as msgpack."""
    return msgspec.msgpack.encode(message)


def decode_chunk(data: bytes) -> Chunk:
    """Decode a chunk; raises MessageRefused."""
    return _decode(data, Chunk)


def decode_ingest(data: bytes) -> Ingest:
    """Decode an ingest message; raises MessageRefused."""
    return _decode(data, Ingest)


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        message = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        raise MessageRefused(f"not a {kind.__name__.lower()} message") from None
    if getattr(message, "v", VERSION) > VERSION:
        raise MessageRefused(f"a {kind.__name__.lower()} message of a version newer than {VERSION}")
    return message
