"""What people and monitors see of a task that a worker has received."""

from typing import Any

from celery.worker.request import Request


class Discreet(Request):
    """Shows its id in place of its arguments, whatever its sender wanted to be shown: a prompt may be among them.

    ``argsrepr`` and ``kwargsrepr`` are made by who sends a task, and Celery puts them into events, inspections and logs.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._argsrepr, self._kwargsrepr = f"({self.id})", "{}"
        self.request_dict.update(argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr)
