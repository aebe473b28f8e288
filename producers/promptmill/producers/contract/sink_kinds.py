"""The table of sinks, read by producers, workers and tests.

A new sink is one module in ``promptmill.workers.sinks``, one line here and one section
of ``docs/guides/sinks.md``.
"""

from collections.abc import Callable
from typing import NamedTuple

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract import sink_specs
from promptmill.producers.contract.messages import SinkSpec


def _is_path(spec: SinkSpec) -> bool:
    return "://" not in spec.url


def _is_remote(_: SinkSpec) -> bool:
    return False


class SinkKind(NamedTuple):
    """One kind of sink.

    ``name`` is the ``kind`` of its specs. It is stored and sent, so it never changes.
    ``module`` is the one in ``promptmill.workers.sinks`` whose ``open_sink`` opens it.
    ``parse`` reads the texts of ``--sink`` that start with one of ``schemes`` and a colon.
    ``is_local_file`` returns whether a spec of this kind writes one local file.
    ``extra`` is what workers need to install, as in ``promptmill[parquet]``.
    """

    name: str
    module: str
    schemes: tuple[str, ...] = ()
    parse: Callable[[str], SinkSpec] | None = None
    is_local_file: Callable[[SinkSpec], bool] = _is_remote
    extra: str = ""


def parse_sink(text: str) -> SinkSpec:
    """Return the sink that a text of ``--sink`` names. Raises ConfigurationError.

    A text without a scheme of the table is a location: a path or ``gs://bucket/folder/``.
    """
    parse = _PARSERS.get(text.partition(":")[0])
    if parse:
        return parse(text)
    return sink_specs.parquet(text) if text.endswith(".parquet") else sink_specs.jsonl(text)


def is_local_file(spec: SinkSpec) -> bool:
    """Return whether a sink writes one local file, which a second run would overwrite."""
    kind = SINK_KINDS.get(spec.kind)
    return kind is not None and kind.is_local_file(spec)


def get_sink_kind(spec: SinkSpec) -> SinkKind:
    """Return the line of the table for a sink. Raises ConfigurationError."""
    if spec.kind not in SINK_KINDS:
        raise ConfigurationError(
            f"sink {spec.url}: unknown kind {spec.kind[:40]!r}. Use one of: {', '.join(SINK_KINDS)}"
        )
    return SINK_KINDS[spec.kind]


def _parse_jsonl(text: str) -> SinkSpec:
    return sink_specs.jsonl(text.removeprefix("jsonl:"))


def _parse_postgres(text: str) -> SinkSpec:
    database, _, table = text.partition("#")
    name = database if "://" in database else database.partition(":")[2]
    if not table:
        # A URL may hold a secret, so it is not repeated.
        sink = "postgresql://host/database" if "://" in database else database
        raise ConfigurationError(f"sink {sink}: the table is missing; write {sink}#TABLE")
    return sink_specs.postgres(name, table=table)


def _parse_webhook(text: str) -> SinkSpec:
    return sink_specs.webhook(text.removeprefix("webhook:"))


def _parse_custom(text: str) -> SinkSpec:
    return sink_specs.custom(text.removeprefix("custom:"))


def _file_kind(name: str, extra: str = "") -> SinkKind:
    """Return a kind of file that is written to a local path or ``gs://bucket/folder/``."""
    return SinkKind(
        name,
        name,
        (name,),
        lambda text: sink_specs.files(name, text.removeprefix(f"{name}:")),
        _is_path,
        extra,
    )


_TABLE = (
    SinkKind("jsonl", "files", ("jsonl",), _parse_jsonl),
    SinkKind("file", "files", is_local_file=_is_path),
    _file_kind("parquet", extra="parquet"),
    SinkKind("postgres", "postgres", ("postgres", "postgresql"), _parse_postgres, extra="postgres"),
    SinkKind("bigquery", "bigquery", ("bq",), sink_specs.bigquery, extra="bigquery"),
    SinkKind("webhook", "webhook", ("webhook", "https", "http"), _parse_webhook, extra="webhook"),
    SinkKind("celery", "callback"),
    SinkKind("custom", "custom", ("custom",), _parse_custom),
)
SINK_KINDS = {kind.name: kind for kind in _TABLE}
"""Every kind of sink by its name."""
_PARSERS = {scheme: kind.parse for kind in _TABLE for scheme in kind.schemes}
