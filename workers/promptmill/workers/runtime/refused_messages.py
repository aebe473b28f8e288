"""Keeps out of the log what was in a message that Celery refuses.

Celery logs the first thousand characters of its body, all its headers, and errors that quote it: any of them may hold a
prompt, of a producer that was not ours or whose message was damaged.
"""

import logging

from kombu.exceptions import ContentDisallowed

_REFUSAL_REASONS = {
    "on_decode_error": "it cannot be decoded",
    "on_unknown_message": "it is no task",
    "on_unknown_task": "unregistered task of type",
    "on_invalid_task": "it is not as a task should be",
}
"""Methods of Celery's consumer that log a message's content, and why they are called."""


class RedactingFilter(logging.Filter):
    """Leaves of a record about a refused message only why it was refused."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always let through."""
        if reason := _REFUSAL_REASONS.get(record.funcName):
            arguments = record.args if isinstance(record.args, tuple) else ()
            record.msg, record.args = (
                "message refused: %s",
                (f"{reason} {_describe_error(arguments)}".rstrip(),),
            )
            record.exc_info = record.exc_text = None
        return True


def _describe_error(arguments: tuple[object, ...]) -> str:
    error = next((argument for argument in arguments if isinstance(argument, Exception)), None)
    if isinstance(error, KeyError):
        return repr(error.args[0])[:100]
    if isinstance(error, ContentDisallowed):
        return f"({type(error).__name__}: {str(error)[:200]})"
    return f"({type(error).__name__})" if error else ""


_redacting_filter = RedactingFilter()


def redact_refusals() -> None:
    """Let the consumers of this process be discreet from now on."""
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_redacting_filter)
