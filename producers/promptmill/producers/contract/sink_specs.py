"""Where results go: ``promptmill.producers.sinks``.

Each function returns a description that travels with the run. The workers do the writing.
Every function raises ConfigurationError for an invalid location.
"""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from promptmill.config import tables
from promptmill.config.errors import ConfigurationError
from promptmill.config.urls import mask_password
from promptmill.producers.contract.messages import SinkSpec

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")


def jsonl(url: str | Path) -> SinkSpec:
    """Write results as JSON lines.

    ``gs://bucket/folder/`` gets one file per part. A local path gets one file, which a
    worker writes, so it is on a disk that all workers share.
    """
    location = _normalize_location(url)
    return SinkSpec("jsonl" if location.startswith("gs://") else "file", location)


def parquet(url: str | Path) -> SinkSpec:
    """Write results as Parquet files, to the same locations as ``jsonl``.

    Parsed answers, usage, metadata and content are columns of JSON text.
    """
    return files("parquet", url)


def files(kind: str, url: str | Path) -> SinkSpec:
    """Write results as files of a kind, such as ``parquet``, to the same locations."""
    return SinkSpec(kind, _normalize_location(url))


def postgres(database: str, *, table: str) -> SinkSpec:
    """Write results as rows of a PostgreSQL table, one per run and key.

    ``database`` is a name from the workers' PROMPTMILL_NAMED_SINKS, or
    ``postgresql://user@host/database`` if their PROMPTMILL_SINKS allows it. A URL has no
    password, as it is stored in Redis and in the bucket. ``table`` is ``name`` or
    ``schema.name``. A missing table is created. Of an existing table, the columns that
    it has are written, also from top-level properties of parsed answers.
    """
    url = re.sub("^postgres://", "postgresql://", database)
    return SinkSpec("postgres", _check_server(url, "postgresql"), {"table": check_table(table)})


def bigquery(table: str, *, merge: Literal["", "run", "key"] | bool = False) -> SinkSpec:
    """Write results as rows of the BigQuery table ``project.dataset.table``.

    A missing table is created. All rows appear together when the run ends.
    ``merge="key"`` replaces rows of the same key, so that the table has the newest answer
    to each. ``merge="run"``, or True, replaces rows of the same run and key. Without
    ``merge``, rows are appended once.
    """
    merge_mode = "run" if merge is True else merge or ""
    if merge_mode not in {"", "run", "key"}:
        raise ConfigurationError(f"sink {table}: merge must be 'run' or 'key', not {merge!r}")
    return SinkSpec(
        "bigquery", tables.parse_table(table).url, {"merge": merge_mode} if merge_mode else {}
    )


def webhook(url: str) -> SinkSpec:
    """Send results to a web server, signed as Standard Webhooks defines.

    ``url`` is a name from the workers' PROMPTMILL_NAMED_SINKS, or ``https://…`` if their
    PROMPTMILL_SINKS allows it. The workers have the signing secret.
    """
    return SinkSpec("webhook", _check_server(url, "https", "http"))


def custom(name: str, **options: object) -> SinkSpec:
    """Pass results to an entry point of the group ``promptmill.sinks``.

    The package that provides ``name`` is installed with the workers. ``options`` are
    passed on. They travel in a message: JSON values, and no secrets.
    """
    return SinkSpec("custom", name, options)


def check_table(table: str) -> str:
    """Return ``table`` if it is a valid name, with or without a schema."""
    if not _TABLE.fullmatch(table):
        raise ConfigurationError(
            f"table {table[:80]!r} must be a name, such as answers or shop.answers"
        )
    return table


def _normalize_location(url: str | Path) -> str:
    text = str(url)
    if text.startswith("gs://"):
        if not text.removeprefix("gs://").strip("/"):
            raise ConfigurationError(f"sink {text}: the bucket is missing. Use gs://bucket/folder/")
        return text.rstrip("/")
    if "://" in text:
        raise ConfigurationError(
            f"sink {mask_password(text)}: not a known sink. Use gs://bucket/folder/, a path, "
            "bq://…, postgres:NAME#TABLE or webhook:NAME"
        )
    return str(Path(text).expanduser().resolve())


def _check_server(url: str, *schemes: str) -> str:
    """Return a name, or a URL of one of these schemes without secrets."""
    if not url:
        raise ConfigurationError(
            f"sink: the name is missing. Use a name or a URL such as {schemes[0]}://host/…"
        )
    if "://" in url:
        _check_url(url, *schemes)
    return url


def _check_url(url: str, *schemes: str) -> None:
    parts = _split_url(url)
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        raise ConfigurationError(
            f"sink: must be {schemes[0]}://host/… or a name from the workers' settings"
        )
    if parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"sink {parts.scheme}://{parts.hostname}: a password, ? and # cannot travel with "
            "a run. Name the sink in the workers' PROMPTMILL_NAMED_SINKS"
        )


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else None  # an invalid port raises ValueError too
    except ValueError:
        return None
