"""Where results go, as a run declares it; the workers hold the code that writes."""

from pathlib import Path

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
