"""What every sink is opened with."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.ports.database import Database
from promptmill.workers.ports.google import Bucket, CallbackBroker
from promptmill.workers.ports.warehouse import Warehouse
from promptmill.workers.ports.web import WebClient


def _no_database(_url: str, name: str) -> Database:
    raise ConfigurationError(f"sink {name}: no database can be opened in this process")


def _no_web() -> WebClient:
    raise ConfigurationError("no web server can be reached from this process")


def _no_warehouse() -> Warehouse:
    raise ConfigurationError("BigQuery cannot be reached from this process")


def _no_callback_broker() -> CallbackBroker:
    raise ConfigurationError("the callback broker cannot be reached from this process")


class Connectors(NamedTuple):
    """How sinks reach other systems. A database is opened by its URL and public name."""

    open_database: Callable[[str, str], Database] = _no_database
    open_web: Callable[[], WebClient] = _no_web
    open_warehouse: Callable[[], Warehouse] = _no_warehouse
    open_callback_broker: Callable[[], CallbackBroker] = _no_callback_broker


class SinkContext(NamedTuple):
    """The run that a sink is opened for, and what it may use.

    ``schema`` is the run's response schema; sinks that create a table may use it.
    ``filled`` names the optional fields of results that the run fills; see
    ``rows.OPTIONAL_FIELDS``. ``dimensions`` is the length of the run's embeddings; 0 if rows
    may have other lengths. All three are only known when the sink is checked.
    """

    settings: Settings
    open_bucket: Callable[[str], Bucket]
    connectors: Connectors
    run: str
    schema: Mapping[str, object] | None = None
    filled: frozenset[str] = frozenset()
    dimensions: int = 0

    def describe_run(self, manifest: Manifest) -> "SinkContext":
        """Return the context with what ``manifest`` says about the results."""
        length = manifest.embedding_config.get("output_dimensionality")
        return self._replace(
            schema=manifest.response_schema,
            filled=filled_fields(manifest),
            dimensions=length if isinstance(length, int) else 0,
        )


def filled_fields(manifest: Manifest) -> frozenset[str]:
    """Return the optional fields of results that a run fills."""
    filled = {"response": manifest.keep, "embedding": manifest.embeds}
    return frozenset(name for name, is_filled in filled.items() if is_filled)
