"""Sends the lines of a run as chunks, or the missing chunks of a repeated run."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from promptmill.config.errors import EmptyRun, IdempotencyConflict
from promptmill.producers.contract.messages import (
    CHUNK_VERSION,
    VERSION,
    Chunk,
    ChunkSize,
    Manifest,
    Seal,
)
from promptmill.producers.contract.run_index import RunIndex
from promptmill.producers.pricing.tokens import TokenTotals
from promptmill.producers.requests.chunks import Chunker, KeyRegistry
from promptmill.producers.requests.deduplication import RequestDeduplicator
from promptmill.producers.requests.request_line import RequestLine

if TYPE_CHECKING:
    from promptmill.producers.sender import Sender


class Submission:
    """One pass over the lines of a run.

    The latest chunk is held back, because the last one carries the seal. ``warnings``
    fills while the lines are read, and becomes part of the seal.
    """

    def __init__(
        self,
        manifest: Manifest,
        index: RunIndex,
        sender: "Sender",
        on_sent: Callable[[int], None] | None,
        chunk_bytes: int,
        warnings: Sequence[str] = (),
    ) -> None:
        self._manifest = manifest
        self._index = index
        self._sender = sender
        self._on_sent = on_sent
        self._warnings = warnings
        self._cutter = Chunker(chunk_bytes, CHUNK_VERSION if manifest.reuse_answers else VERSION)
        self._seen_keys = KeyRegistry()
        self._seen_requests = None if manifest.repeat_identical else RequestDeduplicator()
        self._held_chunk: Chunk | None = None
        self._stored_hashes: dict[int, str] = {}
        self._sealed_chunks = 0
        self._chunk_sizes: list[ChunkSize] = []
        self._chunk_tokens: list[TokenTotals] = []
        self._refused_rows = 0
        self._first_refusal = ""
        self._deduplicated = 0
        self._has_sent = False

    def send_lines(self, lines: Iterable[RequestLine]) -> None:
        """Send the lines that the workers do not have yet.

        Raises EmptyRun, DuplicateKey, IdempotencyConflict, Transient.
        """
        self.begin_run()
        try:
            for line in lines:
                self.add_line(line)
        except BaseException as error:
            self.abandon_run(error)
            raise
        self.finish_run()

    def begin_run(self) -> None:
        """Load the stored state of a repeated run; raises IdempotencyConflict, Transient."""
        if self._manifest.idempotent:
            self._load_stored_run()

    def add_line(self, line: RequestLine) -> None:
        """Add a line, and send the held chunk if the line completes another.

        Raises the errors of ``send_lines``.
        """
        self._seen_keys.record_key(line)
        if line.refusal and not self._first_refusal:
            self._first_refusal = f"row {line.row}: {line.refusal}"
        self._hold_back(
            self._cutter.add_line(
                self._seen_requests.mark_repeat(line) if self._seen_requests else line
            )
        )

    def close_chunk(self) -> None:
        """Close the current chunk, even if it is small."""
        self._hold_back(self._cutter.close_chunk())

    def finish_run(self) -> None:
        """Send the last chunk and the seal; raises the errors of ``send_lines``."""
        try:
            last_chunk = self._close_last_chunk()
            self._check_complete()
        except BaseException as error:
            self.abandon_run(error)
            raise
        warnings = list(self._warnings)
        seal = Seal(self._chunk_sizes, self._chunk_tokens, self._deduplicated, warnings)
        self._send_chunk(last_chunk, seal)
        if not self._sealed_chunks:
            self._index.record_sent_requests(self._manifest.run, self._count_rows())

    def _close_last_chunk(self) -> Chunk:
        self.close_chunk()
        if self._held_chunk is None:
            raise EmptyRun("the run has no prompts; submit at least one")
        return self._held_chunk

    def abandon_run(self, error: BaseException) -> None:
        """Abort an incomplete run, unless an idempotency key allows a repetition."""
        if self._has_sent and not self._manifest.idempotent:
            reason = f"the producer stopped: {type(error).__name__}"
            self._sender.abort_run(self._manifest.run, reason)

    def _load_stored_run(self) -> None:
        stored_manifest = self._index.find_manifest(self._manifest.run)
        if stored_manifest is None:
            return
        if stored_manifest.comparable_content() != self._manifest.comparable_content():
            raise IdempotencyConflict(
                "the idempotency key belongs to a run with another model, name or options; "
                "use a new key"
            )
        self._manifest = stored_manifest
        self._stored_hashes = self._index.get_stored_chunks(stored_manifest.run)
        self._sealed_chunks = self._index.count_sealed_chunks(stored_manifest.run)

    def _hold_back(self, chunk: Chunk | None) -> None:
        if chunk is None:
            return
        if self._held_chunk is not None:
            self._send_chunk(self._held_chunk, None)
        self._record_chunk(chunk)
        self._held_chunk = chunk

    # A chunk that was lost has no stored hash.
    def _record_chunk(self, chunk: Chunk) -> None:
        stored_hash = self._stored_hashes.get(chunk.index, chunk.sha256.hex())
        if stored_hash != chunk.sha256.hex() or (
            self._sealed_chunks and chunk.index >= self._sealed_chunks
        ):
            raise IdempotencyConflict(
                "the idempotency key belongs to a run with other content: rows "
                f"{chunk.first_row} to {chunk.first_row + chunk.requests - 1} differ; "
                "use a new key"
            )
        self._chunk_sizes.append(ChunkSize(chunk.requests, chunk.size))
        self._chunk_tokens.append(chunk.tokens)
        self._refused_rows += len(chunk.refused)
        self._deduplicated += chunk.deduplicated

    def _send_chunk(self, chunk: Chunk, seal: Seal | None) -> None:
        if chunk.index not in self._stored_hashes or (seal and not self._sealed_chunks):
            if not self._has_sent:
                self._index.open_run(self._manifest)
            self._has_sent = True
            self._sender.send_chunk(self._manifest, chunk, seal)
        if self._on_sent:
            self._on_sent(chunk.first_row + chunk.requests - 1)

    def _check_complete(self) -> None:
        if self._refused_rows == self._count_rows():
            raise EmptyRun(
                f"no prompt can be sent: {self._first_refusal}. "
                "Validate the prompts to list all problems"
            )
        self._seen_keys.check_unique()
        if self._sealed_chunks and self._sealed_chunks != len(self._chunk_sizes):
            raise IdempotencyConflict(
                "the idempotency key belongs to a run with more rows; use a new key"
            )

    def _count_rows(self) -> int:
        return sum(size.requests for size in self._chunk_sizes)
