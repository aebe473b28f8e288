"""Calls the installed part that can reach the bucket."""

from typing import Any


def call(name: str, *arguments: Any, **options: Any) -> Any:
    """Call the entry point ``name`` with the settings and these arguments; raises NotInstalled, ConfigurationError."""
    from promptmill.config import logs, settings
    from promptmill.producers.run import bucket_access

    loaded = settings.load()
    logs.configure(loaded)
    return bucket_access(name)(loaded, *arguments, **options)
