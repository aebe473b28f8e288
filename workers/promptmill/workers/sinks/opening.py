"""Opens the sink that a run names, if the workers' settings allow it; what a sink needs is imported only then."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings
from promptmill.producers.contract.messages import SinkSpec
from promptmill.producers.contract.sink_specs import check_table
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.database import Database
from promptmill.workers.ports.google import Bucket, Caller
from promptmill.workers.ports.warehouse import Warehouse
from promptmill.workers.sinks import allowlist
from promptmill.workers.sinks.bigquery import BigQuerySink
from promptmill.workers.sinks.callback import MAX_BYTES, CallbackSink
from promptmill.workers.sinks.custom import CustomSink
from promptmill.workers.sinks.file_format import JSONL, Form
from promptmill.workers.sinks.files import BucketSink, FileSink
from promptmill.workers.sinks.sink import Sink

if TYPE_CHECKING:
    from promptmill.workers.sinks.webhook import Web

Schema = Mapping[str, Any] | None


def _no_database(_url: str, name: str) -> Database:
    raise ConfigurationError(f"sink {name}: there is no way to a database here")


def _no_web() -> "Web":
    raise ConfigurationError("there is no way to the web here")


def _no_warehouse() -> Warehouse:
    raise ConfigurationError("there is no BigQuery here")


def _no_caller() -> Caller:
    raise ConfigurationError("there is no broker of callers here")


class Ways(NamedTuple):
    """How databases (by URL, and what people may see of it), web servers, BigQuery and the callers' workers are reached."""

    open_database: Callable[[str, str], Database] = _no_database
    open_web: Callable[[], "Web"] = _no_web
    open_warehouse: Callable[[], Warehouse] = _no_warehouse
    open_caller: Callable[[], Caller] = _no_caller


def open_sink(
    settings: Settings,
    open_bucket: Callable[[str], Bucket],
    ways: Ways,
    spec: SinkSpec,
    run: str,
    schema: Schema = None,
) -> Sink:
    """Open a sink for a run; raises ConfigurationError when runs may not write there, or it is not installed.

    A table that ``check`` has to make gets columns for what the run's response ``schema`` names.
    """
    try:
        return _open(settings, open_bucket, ways, spec, run, schema)
    except ImportError as error:
        extra = f"pip install 'promptmill[{spec.kind}]'"
        raise ConfigurationError(f"sink {spec.url}: the workers lack {error.name}: {extra}") from None


def _open(
    settings: Settings, open_bucket: Callable[[str], Bucket], ways: Ways, spec: SinkSpec, run: str, schema: Schema
) -> Sink:
    match spec.kind:
        case "file" | "jsonl":
            return _files(settings, open_bucket, spec, run, JSONL)
        case "parquet":
            from promptmill.workers.sinks.parquet import PARQUET

            return _files(settings, open_bucket, spec, run, PARQUET)
        case "postgres":
            return _postgres(settings, ways, spec, run, schema)
        case "webhook":
            return _webhook(settings, ways, spec, run)
        case "bigquery":
            own = open_bucket(settings.require("bucket"))
            return BigQuerySink(ways.open_warehouse(), own, allowlist.table(settings, spec), spec, run)
        case "celery":
            room = settings.max_queued_bytes // MAX_BYTES
            return CallbackSink(ways.open_caller, spec, run, room, lambda chain: callbacks.check(settings, chain))
        case "custom":
            return CustomSink(spec.url, run, spec.options)
        case _:
            raise ConfigurationError(f"sink {spec.url}: the workers know no sink of the kind {spec.kind[:40]!r}")


def _files(settings: Settings, open_bucket: Callable[[str], Bucket], spec: SinkSpec, run: str, form: Form) -> Sink:
    if spec.kind == "file" or (spec.kind == "parquet" and "://" not in spec.url):
        path: Path = allowlist.file(settings, spec)
        return FileSink(path, run, form)
    return BucketSink(open_bucket(allowlist.folder(settings, spec, run)), run, form)


def _postgres(settings: Settings, ways: Ways, spec: SinkSpec, run: str, schema: Schema) -> Sink:
    from promptmill.workers.sinks.postgres import PostgresSink

    server = allowlist.server(settings, spec, "postgresql")
    table = check_table(str(spec.options.get("table", "")))
    return PostgresSink(lambda: ways.open_database(server.url, server.name), table, run, schema)


def _webhook(settings: Settings, ways: Ways, spec: SinkSpec, run: str) -> Sink:
    from promptmill.workers.sinks.webhook import Endpoint, WebhookSink

    server = allowlist.server(settings, spec, "https", "http")
    secret = server.secret or settings.webhook_secret.get_secret_value()
    return WebhookSink(ways.open_web(), Endpoint(server.name, server.url, secret, server.named), run)
