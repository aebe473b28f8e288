"""Keeps the content of refused messages out of the log.

Celery logs the start of a refused body, all headers, and errors that quote them. Any of these
may contain a prompt, if a foreign producer sent the message or it was damaged on the way.
"""

import logging

import structlog
from kombu.exceptions import ContentDisallowed

_log = structlog.get_logger(__name__)
_REFUSAL_REASONS = {
    "on_decode_error": "the body cannot be decoded",
    "on_unknown_message": "it is not a task",
    "on_unknown_task": "the task is not registered",
    "on_invalid_task": "the task is malformed",
}
"""Methods of Celery's consumer that log a message's content, and why they are called."""


class RefusalFilter(logging.Filter):
    """Replaces Celery's record of a refused message with the event ``message_refused``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a record about a refused message."""
        reason = _REFUSAL_REASONS.get(record.funcName)
        if reason is None:
            return True
        arguments = record.args if isinstance(record.args, tuple) else ()
        _log.error("message_refused", reason=reason, error=_describe_error(arguments))
        return False


def _describe_error(arguments: tuple[object, ...]) -> str:
    """Return the type of an error, and its text where that cannot quote the message."""
    error = next((argument for argument in arguments if isinstance(argument, Exception)), None)
    if isinstance(error, KeyError):  # an unknown task: the error holds only its name
        return repr(error.args[0])[:100]
    if isinstance(error, ContentDisallowed):
        return f"{type(error).__name__}: {str(error)[:200]}"
    return type(error).__name__ if error else ""


_refusal_filter = RefusalFilter()


def redact_refusals() -> None:
    """Install the filter on the consumer's logger of this process. May be called repeatedly."""
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_refusal_filter)
