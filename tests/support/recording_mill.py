"""A client whose index and sender keep what they get, without Redis."""

from typing import cast

from promptmill.producers import Promptmill
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.run_index import RunIndex


class RecordingIndex:
    """An index that knows no run, and keeps the manifests of those that are opened."""

    def __init__(self) -> None:
        self.opened: list[Manifest] = []

    def find_manifest(self, run: str) -> Manifest | None:
        return None

    def open_run(self, manifest: Manifest) -> None:
        self.opened.append(manifest)

    def record_sent_requests(self, run: str, requests: int) -> None: ...


class RecordingSender:
    """A sender that keeps what it would send."""

    def __init__(self) -> None:
        self.sent: list[object] = []

    def send_chunk(self, *message: object) -> None:
        self.sent.append(message)

    def enqueue_prompts(self, message: object) -> None:
        self.sent.append(message)

    def abort_run(self, run: str, reason: str) -> None: ...


def open_mill() -> tuple[Promptmill, RecordingIndex, RecordingSender]:
    """Return a client that sends nothing, with its index and sender."""
    mill = Promptmill(broker_url="redis://127.0.0.1:1/0", model="gemini-fake")
    index, sender = RecordingIndex(), RecordingSender()
    mill.index = cast("RunIndex", index)
    vars(mill)["_sender"] = sender
    return mill, index, sender
