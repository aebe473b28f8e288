"""Messages and stored objects of a run: the contract between producers and workers.

Every struct has a version. Unknown fields are ignored, so a newer producer works with
an older worker. A message that an older worker would misunderstand has a higher
version; only newer workers accept it. The ingest message is msgpack, everything else is
JSON.
"""

from typing import Annotated, TypeVar

import msgspec
import zstandard

from promptmill.config import names
from promptmill.config.errors import MessageRefused, NewerVersion
from promptmill.producers.models.model_table import find_embedding_model
from promptmill.producers.pricing.tokens import ChunkSize as ChunkSize
from promptmill.producers.pricing.tokens import TokenTotals

VERSION = 1
DEDUPLICATED_CHUNK_VERSION = 2
"""Version of a chunk with duplicate requests.

An older worker would treat rows that share an answer as rows without one.
"""
CHUNK_VERSION = 3
"""Version of a chunk of a run that reuses answers.

An older worker would send reused requests again, or treat them as unanswered.
"""
RUN_VERSION = 4
"""Version of a run that keeps parts of Google's answers, or of an embedding model.

An older worker would drop the parts, and pay for embeddings again as empty answers.
Version 3 is for reused answers. Version 2 is for callbacks, cost limits and BigQuery
tables. An older worker would ignore callbacks and limits, and find no answers in tables.
"""
MAX_CHUNK_BYTES = 20 << 20
"""Maximum size of a chunk before compression. A larger one is an attack."""

MAX_ATTEMPTS = 9

Count = Annotated[int, msgspec.Meta(ge=0)]
T = TypeVar("T", bound=msgspec.Struct)
_prompt_decoder = msgspec.json.Decoder(dict[str, object])


class SinkSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A destination of results: the kind of sink, its URL, and options of that kind."""

    kind: str
    url: str
    options: dict[str, object] = {}


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Celery signature of the caller's task.

    An ``immutable`` signature receives only its own ``args``.
    """

    task: str
    args: list[object] = []
    kwargs: dict[str, object] = {}
    options: dict[str, object] = {}
    immutable: bool = False


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run as submitted. ``promptmill.producers.run_options`` describes its options.

    ``created`` is in seconds since the epoch. ``deadline`` is in seconds after the
    first request was stored; 0 means none. ``retry_max_tokens`` and ``max_cost_usd``
    are 0 without a limit. ``tables`` is empty without a dataset. ``idempotent`` means
    that the run has an idempotency key. ``parent`` is the run whose failed rows it
    retries. ``keep`` names parts of Google's answers, in alphabetical order.
    ``embedding_config`` is Google's EmbedContentConfig of all rows.
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
    response_schema: dict[str, object] | None = None
    retry_schema_invalid: bool = False
    tables: str = ""
    link: list[list[Signature]] = []
    link_error: list[list[Signature]] = []
    parent: str = ""
    max_cost_usd: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    repeat_identical: bool = False
    reuse_answers: bool = msgspec.field(default=False, name="skip_done")
    keep: list[str] = []
    embedding_config: dict[str, object] = {}
    v: int = VERSION

    @property
    def embeds(self) -> bool:
        """Whether the model makes embeddings."""
        return find_embedding_model(self.model) is not None

    @property
    def has_callbacks(self) -> bool:
        """Whether tasks are sent when the run ends."""
        return bool(self.link or self.link_error)

    def with_version(self) -> "Manifest":
        """Return the manifest with the lowest version that describes it correctly."""
        needs_version_2 = self.link or self.link_error or self.tables or self.max_cost_usd
        features = {
            RUN_VERSION: self.keep or self.embeds,
            3: self.reuse_answers,
            2: needs_version_2,
        }
        version = next((version for version, used in features.items() if used), VERSION)
        return msgspec.structs.replace(self, v=version)

    def comparable_content(self) -> "Manifest":
        """Return the content that the same idempotency key must repeat."""
        return msgspec.structs.replace(self, created=0.0)


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests ``first_row`` … ``first_row + requests - 1`` of a run.

    ``data`` holds the compressed wire lines. ``size`` and ``sha256`` are those of the
    lines before compression. ``refused`` lists the invalid rows. ``deduplicated``
    counts requests that repeat an earlier one of the run.
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
        """Return the wire lines; raises MessageRefused if they contradict the chunk."""
        if not 0 <= self.size <= MAX_CHUNK_BYTES:
            raise MessageRefused(
                f"chunk {self.index} declares {self.size:,} bytes; "
                f"the maximum is {MAX_CHUNK_BYTES:,}"
            )
        try:
            lines = _decompress_data(self.data, self.size)
        except zstandard.ZstdError:
            raise MessageRefused(f"chunk {self.index} cannot be decompressed") from None
        if len(lines) != self.size or lines.count(b"\n") != self.requests:
            raise MessageRefused(f"chunk {self.index} has other lines than it declares")
        return lines


def _decompress_data(data: bytes, size: int) -> bytes:
    """Decompress at most ``size`` bytes.

    zstandard applies the limit only to a frame that does not declare its own size.
    """
    if zstandard.get_frame_parameters(data).content_size not in (
        size,
        zstandard.CONTENTSIZE_UNKNOWN,
    ):
        raise zstandard.ZstdError("the frame has another size than the chunk")
    return zstandard.ZstdDecompressor(max_window_size=MAX_CHUNK_BYTES).decompress(
        data, max_output_size=size, allow_extra_data=False
    )


class Seal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a run's input: the size and the token counts of each chunk.

    ``tokens`` is empty if tokens were not counted. ``deduplicated`` counts requests
    that repeat an earlier one. It is 0 if identical requests are repeated. ``warnings``
    are those about the requests, one sentence each.
    """

    chunks: list[ChunkSize]
    tokens: list[TokenTotals] = []
    deduplicated: Count = msgspec.field(default=0, name="copies")
    warnings: list[str] = []

    @property
    def total_requests(self) -> int:
        """Number of requests in the run."""
        return sum(chunk.requests for chunk in self.chunks)


class Ingest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message of ``promptmill.ingest``: a run and an encoded chunk.

    The last message of a run also has the seal.
    """

    run: Manifest
    chunk: bytes
    seal: Seal | None = None
    v: int = VERSION


class PooledCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prompts of one call of ``Promptmill.enqueue``.

    ``data`` holds compressed lines of JSON, each a prompt with its ``key``.
    ``requests`` and ``size`` are those of the lines before compression. ``run`` is the
    encoded Manifest of the future run, without id and time. ``id`` identifies the call,
    also in a duplicate delivery.
    """

    id: str
    pool: str
    run: bytes
    requests: Annotated[int, msgspec.Meta(ge=1)]
    size: Count
    data: bytes
    v: int = VERSION

    def decode_prompts(self) -> list[dict[str, object]]:
        """Return the prompts; raises MessageRefused if they contradict the message."""
        if self.size > MAX_CHUNK_BYTES:
            raise MessageRefused(
                f"an enqueue call declares {self.size:,} bytes; the maximum is {MAX_CHUNK_BYTES:,}"
            )
        try:
            lines = _decompress_data(self.data, self.size)
            prompts: list[dict[str, object]] = _prompt_decoder.decode_lines(lines)
        except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MessageRefused("the prompts of an enqueue call cannot be decoded") from None
        if len(prompts) != self.requests:
            raise MessageRefused("an enqueue call has other prompts than it declares")
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
    """Decode the message of an ``enqueue`` call; raises MessageRefused, NewerVersion."""
    pooled = _decode_message(data, PooledCall)
    try:
        names.check_pool(pooled.pool)
        names.batch(pooled.pool, "0", pooled.id)
    except ValueError as error:
        raise MessageRefused(str(error)) from None
    return pooled


def decode_manifest(data: bytes) -> Manifest:
    """Decode the manifest of a pool's run; raises MessageRefused, NewerVersion."""
    return _decode_message(data, Manifest, RUN_VERSION)


def _decode_message(data: bytes, kind: type[T], max_version: int = VERSION) -> T:
    label = f"{kind.__name__.lower()} message"
    try:
        _check_version(msgspec.msgpack.decode(data, type=_VersionHeader).v, label, max_version)
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise MessageRefused(f"the message is not a valid {label}: {error}") from None


class _VersionHeader(msgspec.Struct):
    """The fields that every version of a message has."""

    v: int = VERSION


def _check_version(version: int, label: str, max_version: int = VERSION) -> None:
    if version > max_version:
        raise NewerVersion(f"the {label} has a version newer than {max_version}")
