"""Results as arguments of the caller's own Celery task, a slice at a time."""

from collections.abc import Callable, Iterator

import msgspec

from promptmill.config.errors import ConfigurationError, Transient
from promptmill.producers.contract.messages import Signature, SinkSpec
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.google import Caller

MAX_RESULTS = 500
MAX_BYTES = 256 * 1024
"""Of the results of one task, as JSON; one that is longer travels alone."""


class CallbackSink:
    """A task for each slice of a part, whose id says which: who gets it again can tell.

    ``room`` is how many of them may wait in their queue; ``check`` raises ConfigurationError for tasks that runs may not
    have called.
    """

    def __init__(
        self,
        open_caller: Callable[[], Caller],
        spec: SinkSpec,
        run: str,
        room: int,
        check: Callable[[list[Signature]], None],
    ) -> None:
        self._open_caller = open_caller
        self._run = run
        self._room = room
        self._check = check
        self._number = spec.options.get("number", 0)
        try:
            self._chain = msgspec.convert(spec.options.get("chain"), list[Signature])
        except msgspec.ValidationError:
            self._chain = []

    def check(self) -> None:
        """Look whether the task may be called."""
        if not self._chain:
            raise ConfigurationError("link_results: not a chain of signatures")
        self._check(self._chain)

    def deliver(self, part: str, lines: bytes) -> None:
        """Send one part, once there is room for it: its receivers may be slower than we are."""
        self.check()
        caller = self._open_caller()
        for number, results in enumerate(slices(lines)):
            call = callbacks.call(self._chain, results, f"{self._run}.results{self._number}.{part}.{number:05d}")
            if number == 0 and caller.waiting(call.queue) >= self._room:
                raise Transient(f"queue {call.queue} is full: its workers are behind, or there are none")
            caller.send(call)

    def finish(self, parts: list[str]) -> str:  # noqa: ARG002
        """Return whose results they are; there is nothing to complete."""
        return f"celery:{self._chain[0].task}"


def slices(lines: bytes) -> Iterator[list[dict[str, object]]]:
    """Cut lines of results into lists of at most MAX_RESULTS and, but for a single one, MAX_BYTES."""
    held: list[dict[str, object]] = []
    size = 0
    for line in lines.split(b"\n"):
        if not line:
            continue
        if held and (len(held) == MAX_RESULTS or size + len(line) > MAX_BYTES):
            yield held
            held, size = [], 0
        held.append(msgspec.json.decode(line))
        size += len(line)
    if held:
        yield held
