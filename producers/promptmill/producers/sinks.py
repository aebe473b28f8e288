"""Where results go, as a run declares it; the workers hold the code that writes."""

from pathlib import Path
from typing import Literal

from promptmill.config import tables
from promptmill.config.errors import ConfigurationError
from promptmill.producers.messages import SinkSpec


def jsonl(url: str | Path) -> SinkSpec:
    """Write results as lines of JSON: under ``gs://bucket/folder/`` as one file a part, or into one local file.

    A local file is written by a worker, so it must be on a disk that the workers share. Raises ConfigurationError.
    """
    text = str(url)
    if text.startswith("gs://"):
        if not text.removeprefix("gs://").strip("/"):
            raise ConfigurationError(f"sink {text}: a bucket is missing, as in gs://bucket/folder/")
        return SinkSpec("jsonl", text.rstrip("/"))
    if "://" in text:
        raise ConfigurationError(f"sink {text}: JSONL goes to gs://… or to a local file")
    return SinkSpec("file", str(Path(text).expanduser().resolve()))


def bigquery(table: str, *, merge: Literal["", "run", "key"] | bool = False) -> SinkSpec:
    """Write results as rows of the BigQuery table ``project.dataset.table``, which is made if it is missing.

    They appear at once, when the run ends. ``merge="key"`` replaces rows of the same key, so that the table has the newest
    answer to each; ``merge="run"`` (or True) those of the same run and key; otherwise rows are appended, each once.
    Raises ConfigurationError.
    """
    wanted = "run" if merge is True else merge or ""
    if wanted not in {"", "run", "key"}:
        raise ConfigurationError(f"sink {table}: merge is 'run' or 'key', not {merge!r}")
    return SinkSpec("bigquery", tables.parse(table).url, {"merge": wanted} if wanted else {})
