"""Logging: event names and fields, never the text of a prompt or an answer."""

import logging
import sys

import structlog

from promptmill.config.settings import Settings

_SHARED_PROCESSORS: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logging(settings: Settings) -> None:
    """Send all log lines to stderr, as text or as one JSON object per line."""
    structlog.configure(
        processors=[*_SHARED_PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_build_formatter(settings.log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)


def _build_formatter(log_format: str) -> structlog.stdlib.ProcessorFormatter:
    formatter = structlog.stdlib.ProcessorFormatter
    processors = [formatter.remove_processors_meta, *_output_processors(log_format)]
    return formatter(foreign_pre_chain=_SHARED_PROCESSORS, processors=processors)


def _output_processors(log_format: str) -> list[structlog.types.Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # rich's tracebacks, the default, show local variables, which contain prompts.
    format_traceback = structlog.dev.plain_traceback
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=format_traceback
        )
    ]
