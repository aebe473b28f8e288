"""What a sink is."""

from typing import Protocol


class Sink(Protocol):
    """A place for the results of one run. Parts come in any order, several at once, and more than once."""

    def check(self) -> None:
        """Raise ConfigurationError when results could not be written here; called before anything is paid for."""
        ...

    def deliver(self, part: str, lines: bytes) -> None:
        """Write one part, lines of JSON; the same part again leaves the same rows."""
        ...

    def finish(self, parts: list[str]) -> str:
        """Complete the sink once all ``parts`` are delivered; returns where the results are."""
        ...
