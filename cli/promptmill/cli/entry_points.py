"""Calls functions of the workers, which have access to the bucket."""

from typing import Any


def call_entry_point(name: str, *arguments: object, **options: object) -> Any:
    """Call an entry point with the settings and these arguments.

    Raises NotInstalled, ConfigurationError.
    """
    from promptmill.config import logs, settings
    from promptmill.producers.run import load_bucket_function

    current_settings = settings.load_settings()
    logs.configure_logging(current_settings)
    return load_bucket_function(name)(current_settings, *arguments, **options)
