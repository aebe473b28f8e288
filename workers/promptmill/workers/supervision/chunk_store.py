"""Stores the chunks of a run that a worker makes itself."""

from promptmill.producers.contract import messages
from promptmill.producers.contract.messages import Chunk, Ingest, Manifest, Seal
from promptmill.workers import steps
from promptmill.workers.coordination import progress
from promptmill.workers.services import Services


class ChunkStore:
    """Stores chunks in place of a ``Sender``. ``is_whole``: whether the run is complete."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.is_whole = False

    def send_chunk(self, manifest: Manifest, chunk: Chunk, seal: Seal | None) -> None:
        """Store one chunk."""
        message = Ingest(manifest, messages.encode_message(chunk), seal)
        stored = steps.ingest.ingest(self._services.bucket, message)
        self.is_whole = progress.record_chunk(self._services.index, manifest.run, stored, seal)
