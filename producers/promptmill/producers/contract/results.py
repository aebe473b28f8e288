"""Results: one for every request of a run."""

from typing import Any

import msgspec


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request failed: a ``FailureReason`` and a message."""

    reason: str
    message: str = ""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The final state of one request. Every key of a run has exactly one result.

    ``row`` is the number of the request in the run, from 1. ``usage`` is Google's
    usageMetadata. A failure can have ``text`` too: an answer cut off by MAX_TOKENS was
    paid for. ``content`` is Google's Content if the answer is more than text, such as
    an image or a function call. ``parsed`` is the decoded answer in a run with a
    response schema.
    """

    key: str
    row: int
    state: str
    text: str = ""
    finish_reason: str = ""
    usage: dict[str, Any] = {}
    attempt: int = 1
    model_version: str = ""
    metadata: dict[str, Any] | None = None
    content: dict[str, Any] | None = None
    parsed: Any = None
    error: Error | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the model answered completely."""
        return self.state == "succeeded"
