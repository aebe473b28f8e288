"""Sinks of other packages: entry points of the group ``promptmill.sinks``."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points

import msgspec

from promptmill.config.errors import ConfigurationError, Transient
from promptmill.producers.contract.messages import SinkSpec
from promptmill.producers.contract.results import Result
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.sink import Sink

ENTRY_POINT_GROUP = "promptmill.sinks"
_decode_result = msgspec.json.Decoder(Result).decode


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open a sink of an installed package."""
    return CustomSink(spec.url, context.run, spec.options)


class CustomSink:
    """Calls a class or a function of an installed package.

    A class is constructed with ``(run, **options)``. It has ``deliver(part, lines)``,
    and may have ``check()`` and ``finish(parts)``. A function is called for each part
    with ``(run, part, results, **options)``. ConnectionError and TimeoutError become
    Transient.
    """

    def __init__(self, name: str, run: str, options: Mapping[str, object]) -> None:
        self._name = name
        self._run = run
        self._options = options

    def check(self) -> None:
        """Check that it is installed and accepts the options, then call its ``check``."""
        target = self._load_target()
        arguments = (self._run,) if _is_class(target) else (self._run, "", ())
        try:
            inspect.signature(target).bind(*arguments, **self._options)
        except TypeError as error:
            raise ConfigurationError(f"sink {self._name}: {error}") from None
        self._call_method("check")

    def deliver(self, part: str, lines: bytes) -> None:
        """Pass one part on."""
        target = self._load_target()
        if _is_class(target):
            self._call_method("deliver", part, lines)
            return
        results = (_decode_result(line) for line in lines.split(b"\n")[:-1])
        with self._translate_errors():
            target(self._run, part, results, **self._options)

    def finish(self, parts: list[str]) -> str:
        """Call its ``finish``. Returns the location that this returns, or the sink's name."""
        return str(self._call_method("finish", parts) or self._name)

    def _call_method(self, method: str, *arguments: object) -> object:
        target = self._load_target()
        if not _is_class(target):
            return None
        with self._translate_errors():
            bound_method = getattr(target(self._run, **self._options), method, None)
            return bound_method(*arguments) if bound_method else None

    def _load_target(self) -> Callable[..., object]:
        for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=self._name):
            target: Callable[..., object] = entry_point.load()
            return target
        raise ConfigurationError(
            f"sink {self._name}: no entry point {self._name!r} in the group {ENTRY_POINT_GROUP}. "
            "Install the package that provides it with the workers"
        )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            raise Transient(f"sink {self._name}: {type(error).__name__}") from error


def _is_class(target: object) -> bool:
    return inspect.isclass(target)
