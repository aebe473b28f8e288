"""Results as arguments of the caller's own Celery task, some at a time."""

from collections.abc import Callable, Iterator

import msgspec

from promptmill.config.errors import ConfigurationError, Transient
from promptmill.producers.contract.messages import Signature, SinkSpec
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.google import CallbackBroker
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.sink import Sink

MAX_TASK_RESULTS = 500
MAX_TASK_BYTES = 256 * 1024
"""Maximum size of the results of one task, as JSON. A single result may be larger."""


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open the sink of a signature given as ``link_results``."""
    settings = context.settings
    return CallbackSink(
        context.connectors.open_callback_broker,
        spec,
        context.run,
        settings.max_queued_bytes // MAX_TASK_BYTES,
        lambda chain: callbacks.check_callback_tasks(settings, chain),
    )


class CallbackSink:
    """Sends one task for each slice of a part. A slice sent again has the same task id.

    ``max_waiting`` limits the tasks waiting in their queue. ``check_chain`` raises
    ConfigurationError for tasks that the workers' settings do not allow.
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
        self._chain = _decode_chain(spec)

    def check(self) -> None:
        """Check that the workers' settings allow the tasks."""
        if not self._chain:
            raise ConfigurationError("link_results: not a chain of Celery signatures")
        self._check_chain(self._chain)

    def deliver(self, part: str, lines: bytes) -> None:
        """Send one part. Raises Transient while the receiver's queue is full."""
        self.check()
        broker = self._open_broker()
        for number, results in enumerate(split_results(lines)):
            task = callbacks.build_callback_task(
                self._chain,
                results,
                f"{self._run}.results{self._callback_number}.{part}.{number:05d}",
            )
            if number == 0 and broker.count_waiting(task.queue) >= self._max_waiting:
                raise Transient(f"queue {task.queue} is full. Start workers for it, or add more")
            broker.send(task)

    def finish(self, parts: list[str]) -> str:  # noqa: ARG002
        """Return ``celery:`` and the name of the task."""
        return f"celery:{self._chain[0].task}"


def _decode_chain(spec: SinkSpec) -> list[Signature]:
    try:
        return msgspec.convert(spec.options.get("chain"), list[Signature])
    except msgspec.ValidationError:
        return []


def split_results(lines: bytes) -> Iterator[list[dict[str, object]]]:
    """Split lines into lists of at most MAX_TASK_RESULTS results and MAX_TASK_BYTES."""
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
