"""Opens the sink that a run names, by the table of sinks.

Opening raises ConfigurationError when the kind is unknown, the workers' settings do not allow
the location, or an extra is not installed.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import SinkSpec
from promptmill.producers.contract.sink_kinds import SINK_KINDS, get_sink_kind
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.sink import Sink

SinkOpener = Callable[[SinkSpec, SinkContext], Sink]


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open a sink for a run. Raises ConfigurationError."""
    kind = get_sink_kind(spec)
    try:
        return load_opener(kind.module)(spec, context)
    except ImportError as error:
        if not kind.extra:
            raise
        raise ConfigurationError(
            f"sink {spec.url}: the workers lack the package {error.name}. "
            f"Run: pip install 'promptmill[{kind.extra}]'"
        ) from None


@cache
def load_opener(module: str) -> SinkOpener:
    """Return ``open_sink`` of a module of this package. Raises ImportError."""
    opener: SinkOpener = import_module(f"promptmill.workers.sinks.{module}").open_sink
    return opener


# Loaded before workers fork, so that their processes share the memory.
# Sinks with an extra bring large libraries, and are loaded at their first use.
for _kind in SINK_KINDS.values():
    if not _kind.extra:
        load_opener(_kind.module)
