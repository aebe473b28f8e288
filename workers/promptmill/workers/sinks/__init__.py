"""Sinks: the code that writes a run's results to other systems."""

from promptmill.workers.sinks.sink import Sink

__all__ = ["Sink"]
