"""A broker of the callers' that keeps what it is sent."""

from promptmill.config.errors import Permanent, Transient
from promptmill.workers.ports.google import Call


class FakeCaller:
    """Keeps calls in order of ``sent``; may be ``down``, or ``refuse`` tasks by name; ``queued`` tells what waits."""

    def __init__(self) -> None:
        self.sent: list[Call] = []
        self.down = False
        self.refuse: set[str] = set()
        self.queued: dict[str, int] = {}

    def send(self, call: Call) -> None:
        """Keep a call."""
        if self.down:
            raise Transient("the broker of the callbacks cannot be reached")
        if call.task in self.refuse:
            raise Permanent(f"{call.task} cannot be sent")
        self.sent.append(call)

    def waiting(self, queue: str) -> int:
        """Return how many calls are in a queue, from which nobody takes any, or what the test says."""
        if self.down:
            raise Transient("the broker of the callbacks cannot be reached")
        return self.queued.get(queue, sum(call.queue == queue for call in self.sent))
