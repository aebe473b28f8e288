"""Sinks of others: whatever an installed package offers as an entry point of the group ``promptmill.sinks``."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import msgspec

from promptmill.config.errors import ConfigurationError, Transient
from promptmill.producers.contract.results import Result

ENTRY_POINT_GROUP = "promptmill.sinks"
_decode_result = msgspec.json.Decoder(Result).decode


class CustomSink:
    """A class that is made with (run, **options) and has ``deliver(part, lines)``, and ``check`` and ``finish`` if it wants.

    Or a function that takes (run, part, results, **options). The same part comes again after a crash, and is to leave the
    same rows. What cannot be reached now raises Transient, OSError's own kinds for connections, or TimeoutError.
    """

    def __init__(self, name: str, run: str, options: Mapping[str, Any]) -> None:
        self._name = name
        self._run = run
        self._options = options

    def check(self) -> None:
        """See that it is installed and takes the options, and let it look for itself."""
        target = self._load_target()
        arguments = (self._run,) if inspect.isclass(target) else (self._run, "", ())
        try:
            inspect.signature(target).bind(*arguments, **self._options)
        except TypeError as error:
            raise ConfigurationError(f"sink {self._name}: {error}") from None
        self._call_method("check")

    def deliver(self, part: str, lines: bytes) -> None:
        """Hand over one part."""
        target = self._load_target()
        if inspect.isclass(target):
            self._call_method("deliver", part, lines)
            return
        with self._translate_errors():
            target(
                self._run,
                part,
                (_decode_result(line) for line in lines.split(b"\n")[:-1]),
                **self._options,
            )

    def finish(self, parts: list[str]) -> str:
        """Let it complete; returns where the results are, if it says so."""
        return str(self._call_method("finish", parts) or self._name)

    def _call_method(self, method: str, *arguments: Any) -> Any:
        target = self._load_target()
        if not inspect.isclass(target):
            return None
        with self._translate_errors():
            sink_class: Any = target
            bound_method = getattr(sink_class(self._run, **self._options), method, None)
            return bound_method(*arguments) if bound_method else None

    def _load_target(self) -> Any:
        matches = [
            point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == self._name
        ]
        if not matches:
            raise ConfigurationError(
                f"sink {self._name}: no entry point {ENTRY_POINT_GROUP} of this name is installed with the workers"
            )
        return matches[0].load()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            raise Transient(f"sink {self._name}: {type(error).__name__}") from error
