"""A callback broker in memory."""

from promptmill.config.errors import Permanent, Transient
from promptmill.workers.ports.google import CallbackTask


class FakeCallbackBroker:
    """Keeps tasks in ``sent``.

    It may be down, and rejects ``rejected_tasks``. ``queue_lengths`` overrides the number
    of waiting tasks.
    """

    def __init__(self) -> None:
        self.sent: list[CallbackTask] = []
        self.is_down = False
        self.rejected_tasks: set[str] = set()
        self.queue_lengths: dict[str, int] = {}

    def send(self, task: CallbackTask) -> None:
        """Keep a task."""
        if self.is_down:
            raise Transient("the callback broker cannot be reached")
        if task.task in self.rejected_tasks:
            raise Permanent(f"{task.task} cannot be sent")
        self.sent.append(task)

    def count_waiting(self, queue: str) -> int:
        """Return the number of tasks sent to a queue, or what ``queue_lengths`` says."""
        if self.is_down:
            raise Transient("the callback broker cannot be reached")
        return self.queue_lengths.get(queue, sum(task.queue == queue for task in self.sent))
