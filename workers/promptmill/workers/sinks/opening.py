"""Opens the sink that a run names, if the workers' settings allow it; what a sink needs is imported only then."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings
from promptmill.producers.contract.messages import SinkSpec
from promptmill.producers.contract.sink_specs import check_table
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.database import Database
from promptmill.workers.ports.google import Bucket, CallbackBroker
from promptmill.workers.ports.warehouse import Warehouse
from promptmill.workers.ports.web import Endpoint, WebClient
from promptmill.workers.sinks import allowlist
from promptmill.workers.sinks.bigquery import BigQuerySink
from promptmill.workers.sinks.callback import MAX_TASK_BYTES, CallbackSink
from promptmill.workers.sinks.custom import CustomSink
from promptmill.workers.sinks.file_format import JSONL, FileFormat
from promptmill.workers.sinks.files import BucketSink, FileSink
from promptmill.workers.sinks.sink import Sink

Schema = Mapping[str, Any] | None


def _no_database(_url: str, name: str) -> Database:
    raise ConfigurationError(f"sink {name}: there is no way to a database here")


def _no_web() -> WebClient:
    raise ConfigurationError("there is no way to the web here")


def _no_warehouse() -> Warehouse:
    raise ConfigurationError("there is no BigQuery here")


def _no_callback_broker() -> CallbackBroker:
    raise ConfigurationError("there is no broker of callers here")


class Connectors(NamedTuple):
    """How databases (by URL, and what people may see of it), web servers, BigQuery and the callers' workers are reached."""

    open_database: Callable[[str, str], Database] = _no_database
    open_web: Callable[[], WebClient] = _no_web
    open_warehouse: Callable[[], Warehouse] = _no_warehouse
    open_callback_broker: Callable[[], CallbackBroker] = _no_callback_broker


def open_sink(
    settings: Settings,
    open_bucket: Callable[[str], Bucket],
    connectors: Connectors,
    spec: SinkSpec,
    run: str,
    schema: Schema = None,
) -> Sink:
    """Open a sink for a run; raises ConfigurationError when runs may not write there, or it is not installed.

    A table that ``check`` has to make gets columns for what the run's response ``schema`` names.
    """
    try:
        return _open_by_kind(settings, open_bucket, connectors, spec, run, schema)
    except ImportError as error:
        extra = f"pip install 'promptmill[{spec.kind}]'"
        raise ConfigurationError(
            f"sink {spec.url}: the workers lack {error.name}: {extra}"
        ) from None


def _open_by_kind(
    settings: Settings,
    open_bucket: Callable[[str], Bucket],
    connectors: Connectors,
    spec: SinkSpec,
    run: str,
    schema: Schema,
) -> Sink:
    match spec.kind:
        case "file" | "jsonl":
            return _open_file_sink(settings, open_bucket, spec, run, JSONL)
        case "parquet":
            from promptmill.workers.sinks.parquet import PARQUET

            return _open_file_sink(settings, open_bucket, spec, run, PARQUET)
        case "postgres":
            return _open_postgres_sink(settings, connectors, spec, run, schema)
        case "webhook":
            return _open_webhook_sink(settings, connectors, spec, run)
        case "bigquery":
            own_bucket = open_bucket(settings.get_required("bucket"))
            return BigQuerySink(
                connectors.open_warehouse(),
                own_bucket,
                allowlist.resolve_table(settings, spec),
                spec,
                run,
            )
        case "celery":
            max_waiting = settings.max_queued_bytes // MAX_TASK_BYTES
            return CallbackSink(
                connectors.open_callback_broker,
                spec,
                run,
                max_waiting,
                lambda chain: callbacks.check_callback_tasks(settings, chain),
            )
        case "custom":
            return CustomSink(spec.url, run, spec.options)
        case _:
            raise ConfigurationError(
                f"sink {spec.url}: the workers know no sink of the kind {spec.kind[:40]!r}"
            )


def _open_file_sink(
    settings: Settings,
    open_bucket: Callable[[str], Bucket],
    spec: SinkSpec,
    run: str,
    file_format: FileFormat,
) -> Sink:
    if spec.kind == "file" or (spec.kind == "parquet" and "://" not in spec.url):
        path: Path = allowlist.resolve_file(settings, spec)
        return FileSink(path, run, file_format)
    return BucketSink(open_bucket(allowlist.resolve_folder(settings, spec, run)), run, file_format)


def _open_postgres_sink(
    settings: Settings, connectors: Connectors, spec: SinkSpec, run: str, schema: Schema
) -> Sink:
    from promptmill.workers.sinks.postgres import PostgresSink

    server = allowlist.resolve_server(settings, spec, "postgresql")
    table = check_table(str(spec.options.get("table", "")))
    return PostgresSink(
        lambda: connectors.open_database(server.url, server.name), table, run, schema
    )


def _open_webhook_sink(
    settings: Settings, connectors: Connectors, spec: SinkSpec, run: str
) -> Sink:
    from promptmill.workers.sinks.webhook import WebhookSink

    server = allowlist.resolve_server(settings, spec, "https", "http")
    secret = server.secret or settings.webhook_secret.get_secret_value()
    return WebhookSink(
        connectors.open_web(),
        Endpoint(server.name, server.url, secret, server.is_host_configured),
        run,
    )
