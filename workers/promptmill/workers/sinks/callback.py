"""Results as arguments of the caller's own Celery task, a slice at a time."""

from collections.abc import Callable, Iterator

import msgspec

from promptmill.config.errors import ConfigurationError, Transient
from promptmill.producers.contract.messages import Signature, SinkSpec
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.google import CallbackBroker

MAX_TASK_RESULTS = 500
MAX_TASK_BYTES = 256 * 1024
"""Of the results of one task, as JSON; one that is longer travels alone."""


class CallbackSink:
    """A task for each slice of a part, whose id says which: who gets it again can tell.

    ``max_waiting`` is how many of them may wait in their queue; ``check_chain`` raises ConfigurationError for tasks that runs may not
    have called.
    """

    def __init__(
        self,
        open_broker: Callable[[], CallbackBroker],
        spec: SinkSpec,
        run: str,
        max_waiting: int,
        check_chain: Callable[[list[Signature]], None],
    ) -> None:
        self._open_broker = open_broker
        self._run = run
        self._max_waiting = max_waiting
        self._check_chain = check_chain
        self._callback_number = spec.options.get("number", 0)
        try:
            self._chain = msgspec.convert(spec.options.get("chain"), list[Signature])
        except msgspec.ValidationError:
            self._chain = []

    def check(self) -> None:
        """Look whether the task may be called."""
        if not self._chain:
            raise ConfigurationError("link_results: not a chain of signatures")
        self._check_chain(self._chain)

    def deliver(self, part: str, lines: bytes) -> None:
        """Send one part, once there is room for it: its receivers may be slower than we are."""
        self.check()
        broker = self._open_broker()
        for number, results in enumerate(split_results(lines)):
            task = callbacks.build_callback_task(
                self._chain,
                results,
                f"{self._run}.results{self._callback_number}.{part}.{number:05d}",
            )
            if number == 0 and broker.count_waiting(task.queue) >= self._max_waiting:
                raise Transient(
                    f"queue {task.queue} is full: its workers are behind, or there are none"
                )
            broker.send(task)

    def finish(self, parts: list[str]) -> str:  # noqa: ARG002
        """Return whose results they are; there is nothing to complete."""
        return f"celery:{self._chain[0].task}"


def split_results(lines: bytes) -> Iterator[list[dict[str, object]]]:
    """Cut lines of results into lists of at most MAX_RESULTS and, but for a single one, MAX_BYTES."""
    batch: list[dict[str, object]] = []
    size = 0
    for line in lines.split(b"\n"):
        if not line:
            continue
        if batch and (len(batch) == MAX_TASK_RESULTS or size + len(line) > MAX_TASK_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(msgspec.json.decode(line))
        size += len(line)
    if batch:
        yield batch
