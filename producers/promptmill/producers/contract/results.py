"""What is delivered for every request of a run."""

from typing import Any

import msgspec


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request has no answer: a ``FailureReason`` and a message for users."""

    reason: str
    message: str = ""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request's final state; exactly one for each key of a run.

    ``row`` is the request's place in the run, from 1. ``usage`` is Google's usageMetadata. ``text`` may be there on a
    failure too: an answer cut off by MAX_TOKENS was paid for. ``content`` is the answer in Google's shape when it has
    more than text (an image, a function call). ``parsed`` is the answer as JSON values in a run with a
    response schema, which they fit.
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
        """Whether the model answered in full."""
        return self.state == "succeeded"
