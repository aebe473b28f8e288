"""A broker of the callers' that keeps what it is sent."""

from promptmill.config.errors import Permanent, Transient
from promptmill.workers.ports.google import CallbackTask


class FakeCallbackBroker:
    """Keeps calls in order of ``sent``; may be ``is_down``, or ``rejected_tasks`` tasks by name; ``queue_lengths`` tells what waits."""

    def __init__(self) -> None:
        self.sent: list[CallbackTask] = []
        self.is_down = False
        self.rejected_tasks: set[str] = set()
        self.queue_lengths: dict[str, int] = {}

    def send(self, task: CallbackTask) -> None:
        """Keep a call."""
        if self.is_down:
            raise Transient("the broker of the callbacks cannot be reached")
        if task.task in self.rejected_tasks:
            raise Permanent(f"{task.task} cannot be sent")
        self.sent.append(task)

    def count_waiting(self, queue: str) -> int:
        """Return how many calls are in a queue, from which nobody takes any, or what the test says."""
        if self.is_down:
            raise Transient("the broker of the callbacks cannot be reached")
        return self.queue_lengths.get(queue, sum(task.queue == queue for task in self.sent))
