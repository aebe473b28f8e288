"""Where results go, as a run declares it; the workers hold the code that writes."""

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from promptmill.config import tables
from promptmill.config.errors import ConfigurationError
from promptmill.config.urls import mask_password
from promptmill.producers.contract.messages import SinkSpec

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")


def jsonl(url: str | Path) -> SinkSpec:
    """Write results as lines of JSON: under ``gs://bucket/folder/`` as one file a part, or into one local file.

    A local file is written by a worker, so it must be on a disk that the workers share. Raises ConfigurationError.
    """
    location = _normalize_location(url)
    return SinkSpec("jsonl" if location.startswith("gs://") else "file", location)


def parquet(url: str | Path) -> SinkSpec:
    """Write results as Parquet: under ``gs://bucket/folder/`` as one file a part, or into one local file, as ``jsonl`` does.

    Parsed answers, usage, metadata and content are columns of JSON text. Raises ConfigurationError.
    """
    return SinkSpec("parquet", _normalize_location(url))


def postgres(database: str, *, table: str) -> SinkSpec:
    """Write results as rows of a table, one for each run and key.

    ``database`` is a name that the workers know from PROMPTMILL_NAMED_SINKS, or ``postgresql://user@host/database``, if
    their PROMPTMILL_SINKS allows it; never with a password, as it would travel through Redis and lie in the bucket. A
    ``table`` (``name`` or ``schema.name``) that is missing is made; of one that is there, the columns that it has are
    filled, from top-level properties of parsed answers too. Raises ConfigurationError.
    """
    url = (
        database.replace("postgres://", "postgresql://", 1)
        if database.startswith("postgres://")
        else database
    )
    return SinkSpec("postgres", _check_server(url, "postgresql"), {"table": check_table(table)})


def webhook(url: str) -> SinkSpec:
    """Send results to a web server, signed as Standard Webhooks says.

    ``url`` is a name that the workers know from PROMPTMILL_NAMED_SINKS, or ``https://…``, if their PROMPTMILL_SINKS allows
    it. The secret to sign with is the workers'. Raises ConfigurationError.
    """
    return SinkSpec("webhook", _check_server(url, "https", "http"))


def custom(name: str, **options: Any) -> SinkSpec:
    """Hand results to the entry point ``name`` of the group ``promptmill.sinks``, installed with the workers.

    ``options`` are passed on; they travel in a message, so they are JSON, and no secrets.
    """
    return SinkSpec("custom", name, options)


def check_table(table: str) -> str:
    """Return ``table`` when it may be the name of one, with or without a schema; raises ConfigurationError."""
    if not _TABLE.fullmatch(table):
        raise ConfigurationError(
            f"table {table[:80]!r} must be a name, such as answers or shop.answers"
        )
    return table


def _normalize_location(url: str | Path) -> str:
    text = str(url)
    if text.startswith("gs://"):
        if not text.removeprefix("gs://").strip("/"):
            raise ConfigurationError(f"sink {text}: a bucket is missing, as in gs://bucket/folder/")
        return text.rstrip("/")
    if "://" in text:
        raise ConfigurationError(
            f"sink {mask_password(text)}: files go to gs://… or to a local path"
        )
    return str(Path(text).expanduser().resolve())


def _check_server(url: str, *schemes: str) -> str:
    """Return a name, or a URL of one of these schemes that holds nothing secret."""
    if "://" not in url:
        if not url:
            raise ConfigurationError(
                f"sink: a name is missing, or a URL such as {schemes[0]}://host/…"
            )
        return url
    parts = _split_url(url)
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        raise ConfigurationError(
            f"sink: must look like {schemes[0]}://host/…, or be a name that the workers know"
        )
    if parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"sink {parts.scheme}://{parts.hostname}: a password, ? and # may not travel with a run; give it a name in "
            "PROMPTMILL_NAMED_SINKS of the workers"
        )
    return url


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else None  # which raises, too, when it is no number
    except ValueError:
        return None


def bigquery(table: str, *, merge: Literal["", "run", "key"] | bool = False) -> SinkSpec:
    """Write results as rows of the BigQuery table ``project.dataset.table``, which is made if it is missing.

    They appear at once, when the run ends. ``merge="key"`` replaces rows of the same key, so that the table has the newest
    answer to each; ``merge="run"`` (or True) those of the same run and key; otherwise rows are appended, each once.
    Raises ConfigurationError.
    """
    merge_mode = "run" if merge is True else merge or ""
    if merge_mode not in {"", "run", "key"}:
        raise ConfigurationError(f"sink {table}: merge is 'run' or 'key', not {merge!r}")
    return SinkSpec(
        "bigquery", tables.parse_table(table).url, {"merge": merge_mode} if merge_mode else {}
    )
