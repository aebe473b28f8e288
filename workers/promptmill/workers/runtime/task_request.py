"""A task that a worker has received: what people and monitors see of it, and when it is done with its message."""

from typing import Any

from celery.worker.request import Request

finished_tags: set[str] = set()
"""Tags of messages that this worker is done with. One that it goes on to hold could not be given back, as Redis did not
answer: Celery logs that, and looks no further.
"""


class RedactedRequest(Request):
    """Shows its id in place of its arguments, whatever its sender wanted to be shown: a prompt may be among them.

    ``argsrepr`` and ``kwargsrepr`` are made by who sends a task, and Celery puts them into events, inspections and logs.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._argsrepr, self._kwargsrepr = f"({self.id})", "{}"
        self.request_dict.update(argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr)
        finished_tags.discard(
            self.message.delivery_tag
        )  # a message that comes again has its old tag

    def acknowledge(self) -> None:
        """Acknowledge the message, which Celery does a moment later."""
        super().acknowledge()
        finished_tags.add(self.message.delivery_tag)

    def reject(self, requeue: bool = False) -> None:
        """Reject the message, which Celery does a moment later."""
        super().reject(requeue)
        finished_tags.add(self.message.delivery_tag)
