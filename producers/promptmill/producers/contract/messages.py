"""The contract between producers and workers: what a message and a run's own objects hold.

Every struct has a version; unknown fields are ignored, so that a newer producer can talk to an older worker. What an
older worker would misunderstand is of a higher version, and is left to newer workers. The ingest message is msgpack,
everything else JSON.
"""

from typing import Annotated, Any, TypeVar

import msgspec
import zstandard

from promptmill.config import names
from promptmill.config.errors import MessageRefused, NewerVersion
from promptmill.producers.pricing.tokens import ChunkSize as ChunkSize
from promptmill.producers.pricing.tokens import TokenTotals

VERSION = 1
DEDUPLICATED_CHUNK_VERSION = 2
"""Of a chunk with requests that occurred before in its run.

An older worker would take rows that are answered by another's answer for rows without one.
"""
CHUNK_VERSION = 3
"""Of a chunk of a run that reuses answers of earlier ones: an older worker would ask for them, or take them for missing."""
RUN_VERSION = 3
"""Of such a run.

2 is of a run with callbacks, with a limit of costs, or whose jobs read and write tables: of these an older worker would call
nobody, pass the limit over, or find no answers.
"""
MAX_CHUNK_BYTES = 20 << 20
"""No chunk is larger than this before compression; a decompressor that passes it is being attacked."""

MAX_ATTEMPTS = 9

Count = Annotated[int, msgspec.Meta(ge=0)]
T = TypeVar("T", bound=msgspec.Struct)
_prompt_decoder = msgspec.json.Decoder(dict[str, Any])


class SinkSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where results go: the ``kind`` of sink, its ``url``, and options of that kind."""

    kind: str
    url: str
    options: dict[str, Any] = {}


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task of the caller's, as Celery's signature of it says; an ``immutable`` one is given its own ``args`` alone."""

    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    immutable: bool = False


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run as opened; ``created`` in seconds since the epoch.

    ``deadline``: so many seconds after it was opened, the run ends with what it has; 0: never. ``retry_max_tokens``: the
    budget of rows that are tried again as they were cut off; 0: they are not. ``response_schema``: the JSON Schema that
    answers must fit; ``retry_schema_invalid``: whether those that do not are asked for once more. ``tables``: the BigQuery
    dataset, as ``project.dataset``, in which its jobs read and write tables; empty: none. ``link`` and ``link_error``: the
    chains of tasks that are sent when the run has ended well, or badly. ``parent``: the run whose failed rows these are.
    ``max_cost_usd``: what the run may cost; 0: no limit. ``repeat_identical``: each of several identical requests is sent.
    ``reuse_answers``: those that an earlier run has an answer to are not.
    """

    run: str
    model: str
    created: float
    name: str = ""
    labels: dict[str, str] = {}
    sinks: list[SinkSpec] = []
    idempotent: bool = False
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATTEMPTS)] = 3
    deadline: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    retry_max_tokens: Count = 0
    response_schema: dict[str, Any] | None = None
    retry_schema_invalid: bool = False
    tables: str = ""
    link: list[list[Signature]] = []
    link_error: list[list[Signature]] = []
    parent: str = ""
    max_cost_usd: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    repeat_identical: bool = False
    reuse_answers: bool = msgspec.field(default=False, name="skip_done")
    v: int = VERSION

    @property
    def has_callbacks(self) -> bool:
        """Whether tasks are sent when the run ends."""
        return bool(self.link or self.link_error)

    def with_version(self) -> "Manifest":
        """Return it with the lowest version of which all workers understand it."""
        needs_version_2 = self.link or self.link_error or self.tables or self.max_cost_usd
        version = RUN_VERSION if self.reuse_answers else 2 if needs_version_2 else VERSION
        return msgspec.structs.replace(self, v=version)

    def comparable_content(self) -> "Manifest":
        """Return what must be equal when the same idempotency key comes again."""
        return msgspec.structs.replace(self, created=0.0)


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests ``first_row`` … ``first_row + requests - 1`` of a run, as compressed wire lines.

    ``size`` and ``sha256`` are of the lines before compression; ``refused`` has the rows that are not to be sent,
    ``deduplicated`` is how many requests occurred before in the run.
    """

    index: Annotated[int, msgspec.Meta(ge=0, le=99_999_999)]
    first_row: Count
    requests: Count
    size: int
    sha256: bytes
    data: bytes
    refused: list[int] = []
    tokens: TokenTotals = TokenTotals()
    deduplicated: Count = msgspec.field(default=0, name="copies")
    v: int = VERSION

    def decompress_lines(self) -> bytes:
        """Return the wire lines; raises MessageRefused when the data is not what the chunk says."""
        if not 0 <= self.size <= MAX_CHUNK_BYTES:
            raise MessageRefused(f"chunk {self.index} declares {self.size:,} bytes")
        try:
            lines = _decompress_data(self.data, self.size)
        except zstandard.ZstdError:
            raise MessageRefused(f"chunk {self.index} cannot be decompressed") from None
        if len(lines) != self.size or lines.count(b"\n") != self.requests:
            raise MessageRefused(f"chunk {self.index} does not hold what it says")
        return lines


def _decompress_data(data: bytes, size: int) -> bytes:
    """Decompress at most ``size`` bytes; zstandard heeds that only in a frame that does not tell its own size."""
    if zstandard.get_frame_parameters(data).content_size not in (
        size,
        zstandard.CONTENTSIZE_UNKNOWN,
    ):
        raise zstandard.ZstdError("the frame is of another size than the chunk")
    return zstandard.ZstdDecompressor(max_window_size=MAX_CHUNK_BYTES).decompress(
        data, max_output_size=size, allow_extra_data=False
    )


class Seal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a run's input: the size of each chunk, and the tokens that each may use, if they were counted.

    ``deduplicated``: how many requests are the same as one before them; 0 also where each is to be sent.
    """

    chunks: list[ChunkSize]
    tokens: list[TokenTotals] = []
    deduplicated: Count = msgspec.field(default=0, name="copies")

    @property
    def total_requests(self) -> int:
        """Number of requests in the run."""
        return sum(chunk.requests for chunk in self.chunks)


class Ingest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message of ``promptmill.ingest``: an encoded chunk, its run, and with the last one the seal."""

    run: Manifest
    chunk: bytes
    seal: Seal | None = None
    v: int = VERSION


class PooledCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one call of ``collect`` sends: compressed lines of JSON, a prompt with its ``key`` each, for a ``pool``.

    ``run`` is the encoded Manifest of the run that they will be in, but for its id and its time. ``total_requests`` and ``size``
    are of the lines before compression. ``id`` is that of the call, the same in each copy.
    """

    id: str
    pool: str
    run: bytes
    requests: Annotated[int, msgspec.Meta(ge=1)]
    size: Count
    data: bytes
    v: int = VERSION

    def decode_prompts(self) -> list[dict[str, Any]]:
        """Return the prompts; raises MessageRefused when the data is not what the message says."""
        if self.size > MAX_CHUNK_BYTES:
            raise MessageRefused(f"a call of collect declares {self.size:,} bytes")
        try:
            prompts: list[dict[str, Any]] = _prompt_decoder.decode_lines(
                _decompress_data(self.data, self.size)
            )
        except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MessageRefused("what a call of collect sent cannot be read") from None
        if len(prompts) != self.requests:
            raise MessageRefused("a call of collect does not hold what it says")
        return prompts


def compress_lines(lines: bytes) -> bytes:
    """Compress wire lines for a chunk."""
    return zstandard.ZstdCompressor(level=1, write_content_size=True).compress(lines)


def encode_message(message: msgspec.Struct) -> bytes:
    """Encode a message or chunk as msgpack."""
    return msgspec.msgpack.encode(message)


def decode_chunk(data: bytes) -> Chunk:
    """Decode a chunk; raises MessageRefused, NewerVersion."""
    return _decode_message(data, Chunk, CHUNK_VERSION)


def decode_ingest(data: bytes) -> Ingest:
    """Decode an ingest message; raises MessageRefused, NewerVersion."""
    message = _decode_message(data, Ingest)
    _check_version(message.run.v, "run", RUN_VERSION)
    try:
        names.check_run(message.run.run)
    except ValueError as error:
        raise MessageRefused(str(error)) from None
    return message


def decode_pooled_call(data: bytes) -> PooledCall:
    """Decode what a call of ``collect`` sent; raises MessageRefused, NewerVersion."""
    pooled = _decode_message(data, PooledCall)
    try:
        names.check_pool(pooled.pool)
        names.batch(pooled.pool, "0", pooled.id)
    except ValueError as error:
        raise MessageRefused(str(error)) from None
    return pooled


def decode_manifest(data: bytes) -> Manifest:
    """Decode the run that a pool's requests will be in; raises MessageRefused, NewerVersion."""
    return _decode_message(data, Manifest, RUN_VERSION)


def _decode_message(data: bytes, kind: type[T], max_version: int = VERSION) -> T:
    label = f"{kind.__name__.lower()} message"
    try:
        _check_version(msgspec.msgpack.decode(data, type=_VersionHeader).v, label, max_version)
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        raise MessageRefused(f"not a {label}") from None


class _VersionHeader(msgspec.Struct):
    """As much of a message as every version has."""

    v: int = VERSION


def _check_version(version: int, label: str, max_version: int = VERSION) -> None:
    if version > max_version:
        raise NewerVersion(f"a {label} of a version newer than {max_version}")
