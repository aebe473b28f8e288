"""A task that a worker has received: hides its arguments, and records when it is finished."""

from typing import Any

from celery.worker.request import Request

finished_tags: set[str] = set()
"""Delivery tags of messages that this worker has finished.

If it still holds one of them, Redis did not accept the acknowledgement. Celery only logs this.
"""


class RedactedRequest(Request):
    """A request that shows its id in place of its arguments, which may contain a prompt.

    The sender of a task sets ``argsrepr`` and ``kwargsrepr``. Celery shows them in events,
    inspections and logs.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._argsrepr, self._kwargsrepr = f"({self.id})", "{}"
        self.request_dict.update(argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr)
        finished_tags.discard(self.message.delivery_tag)  # a redelivered message keeps its tag

    def acknowledge(self) -> None:
        """Acknowledge the message; Celery sends the acknowledgement a moment later."""
        super().acknowledge()
        finished_tags.add(self.message.delivery_tag)

    def reject(self, requeue: bool = False) -> None:
        """Reject the message; Celery sends the rejection a moment later."""
        super().reject(requeue)
        finished_tags.add(self.message.delivery_tag)
