"""The interface of every sink."""

from typing import Protocol


class Sink(Protocol):
    """Writes the results of one run to one place.

    A part is a file of results. Parts are delivered in any order and concurrently, and
    the same part again after a crash. Each delivery may use another ``Sink`` object.
    Repeating ``check`` or ``finish`` changes nothing.

    Every method may raise these errors:

    - ``Transient`` (or ``Denied``): a later call may succeed. The step is retried
      indefinitely.
    - ``Permanent``: an operator has to act first. The step becomes a dead letter after
      five tries, and can be replayed.
    - ``ConfigurationError``: the sink is not usable as configured. From ``check`` it ends
      the run before anything is billed; from other methods it counts as ``Permanent``.

    A custom sink's own code may raise anything else, which also counts as ``Permanent``.
    """

    def check(self) -> None:
        """Raise ConfigurationError if results could not be written here."""
        ...

    def deliver(self, part: str, lines: bytes) -> None:
        """Write one part: JSON lines, possibly none. Repeating it leaves the same rows."""
        ...

    def finish(self, parts: list[str]) -> str:
        """Complete the sink once all ``parts`` are delivered. Return where the results are."""
        ...
