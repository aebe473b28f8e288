"""Stores the chunks of a run that a worker makes itself."""

from promptmill.producers.contract import messages
from promptmill.producers.contract.messages import Chunk, Ingest, Manifest, Seal
from promptmill.workers import steps
from promptmill.workers.coordination import progress
from promptmill.workers.services import Services


class Keeper:
    """Stores chunks, in the place of a ``Sender``; ``whole``: whether the run has them all."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.whole = False

    def send(self, manifest: Manifest, chunk: Chunk, seal: Seal | None) -> None:
        """Keep one chunk."""
        kept = steps.ingest.ingest(self._services.bucket, Ingest(manifest, messages.encode(chunk), seal))
        self.whole = progress.ingested(self._services.index, manifest.run, kept, seal)
