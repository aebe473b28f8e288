"""The code that writes results where a run wants them."""

from promptmill.workers.sinks.sink import Sink

__all__ = ["Sink"]
