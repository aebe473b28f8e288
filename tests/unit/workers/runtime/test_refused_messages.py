"""The log shows why a message was refused, and nothing of its content."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.consumer import consumer
from kombu.exceptions import ContentDisallowed, DecodeError
from structlog.testing import capture_logs

from promptmill.workers.runtime import refused_messages

MARK = "a-prompt-that-nobody-may-see"
DAMAGED = UnicodeDecodeError("utf-8", MARK.encode(), 0, 1, "invalid start byte")


MESSAGE = SimpleNamespace(
    body=MARK.encode(),
    content_type="binary",
    content_encoding="binary",
    headers={"task": "nobody", "id": "x", "argsrepr": MARK},
    delivery_info={},
    ack=lambda: None,
    reject_log_error=lambda *_: None,
)


@pytest.mark.parametrize(
    ("method", "error", "reason", "description"),
    [
        ("on_decode_error", DecodeError(DAMAGED), "the body cannot be decoded", "DecodeError"),
        (
            "on_decode_error",
            ContentDisallowed("no YAML"),
            "the body cannot be decoded",
            "ContentDisallowed: no YAML",
        ),
        ("on_invalid_task", DAMAGED, "the task is malformed", "UnicodeDecodeError"),
        ("on_unknown_message", None, "it is not a task", ""),
    ],
)
def test_only_the_reason_is_logged(
    method: str,
    error: Exception | None,
    reason: str,
    description: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused_messages.redact_refusals()
    refuse = getattr(consumer.Consumer, method)
    taker: Any = object.__new__(consumer.Consumer)
    taker.connection_errors = ()

    with caplog.at_level(logging.WARNING), capture_logs() as events:
        arguments = (MESSAGE, error) if method == "on_decode_error" else (MARK, MESSAGE, error)
        refuse(taker, *[one for one in arguments if one is not None])

    assert events == [
        {
            "event": "message_refused",
            "log_level": "error",
            "reason": reason,
            "error": description,
        }
    ]
    assert MARK not in caplog.text
