"""Results: one for every request of a run."""

from typing import Any

import msgspec


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request failed."""

    reason: str
    """A failure reason, such as ``SAFETY`` or ``MAX_TOKENS``."""
    message: str = ""
    """Details, for example Google's error message."""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The final state of one request. Every key of a run has exactly one result."""

    key: str
    """The key of the request."""
    row: int
    """Position of the request in the run, counted from 1."""
    state: str
    """``succeeded`` or ``failed``."""
    text: str = ""
    """The text of the answer. A failure can have text: a cut-off answer was paid for."""
    finish_reason: str = ""
    """Google's finish reason, such as ``STOP`` or ``MAX_TOKENS``."""
    usage: dict[str, Any] = {}
    """Google's usageMetadata. Empty for deduplicated and reused requests."""
    attempt: int = 1
    """The attempt that produced the result. 0 for an answer of an earlier run."""
    model_version: str = ""
    """The version of the model that answered."""
    metadata: dict[str, Any] | None = None
    """The metadata that was submitted with the request."""
    content: dict[str, Any] | None = None
    """Google's Content, if the answer is more than text: an image or a function call."""
    parsed: Any = None
    """The decoded answer, in a run with a response schema."""
    response: dict[str, Any] | None = None
    """The parts of Google's answer that ``keep`` names. None in a run without ``keep``."""
    embedding: list[float] | None = None
    """The vector of the text, in a run of an embedding model."""
    error: Error | None = None
    """Why the request failed. None for a success."""

    @property
    def succeeded(self) -> bool:
        """Whether the model answered completely."""
        return self.state == "succeeded"
