"""Calls the installed part that can reach the bucket."""

from typing import Any


def call_entry_point(name: str, *arguments: Any, **options: Any) -> Any:
    """Call the entry point ``name`` with the settings and these arguments; raises NotInstalled, ConfigurationError."""
    from promptmill.config import logs, settings
    from promptmill.producers.run import load_bucket_function

    current_settings = settings.load_settings()
    logs.configure_logging(current_settings)
    return load_bucket_function(name)(current_settings, *arguments, **options)
