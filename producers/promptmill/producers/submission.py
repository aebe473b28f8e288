"""Sends the lines of a run as chunks, or what is missing of one that was sent before."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from promptmill.config.errors import EmptyRun, IdempotencyConflict
from promptmill.producers.contract.messages import CHUNK_VERSION, VERSION, Chunk, ChunkSize, Manifest, Seal
from promptmill.producers.contract.run_index import Index
from promptmill.producers.pricing.tokens import Tokens
from promptmill.producers.requests.chunks import Cutter, Keys
from promptmill.producers.requests.deduplication import Requests
from promptmill.producers.requests.encode import Line

if TYPE_CHECKING:
    from promptmill.producers.sender import Sender


class Submission:
    """One pass over the lines of a run. The last chunk is held back, so that it can carry the seal."""

    def __init__(
        self,
        manifest: Manifest,
        index: Index,
        sender: "Sender",
        on_sent: Callable[[int], None] | None,
        chunk_bytes: int,
    ) -> None:
        self._manifest = manifest
        self._index = index
        self._sender = sender
        self._on_sent = on_sent
        self._cutter = Cutter(chunk_bytes, CHUNK_VERSION if manifest.skip_done else VERSION)
        self._keys = Keys()
        self._requests = None if manifest.repeat_identical else Requests()
        self._held: Chunk | None = None
        self._stored: dict[int, str] = {}
        self._sealed = 0
        self._sizes: list[ChunkSize] = []
        self._tokens: list[Tokens] = []
        self._refused = 0
        self._copies = 0
        self._sent_any = False

    def send(self, lines: Iterable[Line]) -> None:
        """Send what the workers do not have yet; raises EmptyRun, DuplicateKey, IdempotencyConflict, Transient."""
        self.begin()
        try:
            for line in lines:
                self.add(line)
        except BaseException as error:
            self.give_up(error)
            raise
        self.finish()

    def begin(self) -> None:
        """Learn what the workers have already; raises IdempotencyConflict, Transient."""
        if self._manifest.idempotent:
            self._recall()

    def add(self, line: Line) -> None:
        """Add a line, and send the chunk before the one that it filled, if it did; raises as ``send`` does."""
        self._keys.note(line)
        self._hold(self._cutter.add(self._requests.mark(line) if self._requests else line))

    def close_chunk(self) -> None:
        """Let what is held be a chunk, however small."""
        self._hold(self._cutter.close())

    def finish(self) -> None:
        """Send what is left, and the seal; raises as ``send`` does."""
        try:
            self.close_chunk()
            last = self._held
            if last is None:
                raise EmptyRun("there is not one prompt in the run")
            self._check_whole()
        except BaseException as error:
            self.give_up(error)
            raise
        self._pass_on(last, Seal(self._sizes, self._tokens, self._copies))
        if not self._sealed:
            self._index.note_sent(self._manifest.run, self._rows())

    def give_up(self, error: BaseException) -> None:
        """A run that may be sent again stays open; any other will never be whole, and must not wait for more."""
        if self._sent_any and not self._manifest.idempotent:
            self._sender.abort(self._manifest.run, f"the producer gave up: {type(error).__name__}")

    def _recall(self) -> None:
        known = self._index.find_manifest(self._manifest.run)
        if known is None:
            return
        if known.content() != self._manifest.content():
            raise IdempotencyConflict("this idempotency key belongs to a run with another model, name or options")
        self._manifest = known
        self._stored = self._index.stored_chunks(known.run)
        self._sealed = self._index.sealed_chunks(known.run)

    def _hold(self, chunk: Chunk | None) -> None:
        if chunk is None:
            return
        if self._held is not None:
            self._pass_on(self._held, None)
        self._note(chunk)
        self._held = chunk

    def _note(self, chunk: Chunk) -> None:
        """Compare a chunk with what is known of it; one that was lost on its way is not known, and is sent again."""
        stored = self._stored.get(chunk.index, chunk.sha256.hex())
        if stored != chunk.sha256.hex() or (self._sealed and chunk.index >= self._sealed):
            raise IdempotencyConflict(
                f"this idempotency key belongs to a run with other content: it differs within rows {chunk.first_row} "
                f"to {chunk.first_row + chunk.requests - 1}"
            )
        self._sizes.append(ChunkSize(chunk.requests, chunk.size))
        self._tokens.append(chunk.tokens)
        self._refused += len(chunk.refused)
        self._copies += chunk.copies

    def _pass_on(self, chunk: Chunk, seal: Seal | None) -> None:
        if chunk.index not in self._stored or (seal and not self._sealed):
            if not self._sent_any:
                self._index.open_run(self._manifest)
            self._sent_any = True
            self._sender.send(self._manifest, chunk, seal)
        if self._on_sent:
            self._on_sent(chunk.first_row + chunk.requests - 1)

    def _check_whole(self) -> None:
        if self._refused == self._rows():
            raise EmptyRun(f"not one of the {self._refused:,} prompts can be sent")
        self._keys.check()
        if self._sealed and self._sealed != len(self._sizes):
            raise IdempotencyConflict("this idempotency key belongs to a run with more rows")

    def _rows(self) -> int:
        return sum(size.requests for size in self._sizes)
