"""The parts of Google's answers that a run can keep: the option ``keep``."""

from collections.abc import Collection

from promptmill.config.errors import ConfigurationError

WHOLE_RESPONSE = "response"
KEPT_PARTS = {
    "response": "the whole GenerateContentResponse",
    "candidates": "all candidates, whole",
    "citations": "`citationMetadata`",
    "grounding": "`groundingMetadata`: sources and search suggestions",
    "logprobs": "`logprobsResult` and `avgLogprobs`",
    "safety": "`safetyRatings` and `promptFeedback`",
    "thoughts": "parts of the content that are thoughts or have a `thoughtSignature`",
    "url_context": "`urlContextMetadata`",
}
"""The names that ``keep`` takes, and the fields of GenerateContentResponse they stand for.

Source: Google's REST reference of GenerateContentResponse, 2026-09.
"""


def normalize_keep(keep: str | Collection[str]) -> list[str]:
    """Return the names of the parts to keep, in alphabetical order.

    The whole response includes all others. Raises ConfigurationError for an unknown name.
    """
    names = {keep} if isinstance(keep, str) else set(keep)
    if unknown := sorted(names - KEPT_PARTS.keys()):
        raise ConfigurationError(
            f"keep: {unknown[0]!r} is no part of an answer; use {', '.join(sorted(KEPT_PARTS))}"
        )
    return [WHOLE_RESPONSE] if WHOLE_RESPONSE in names else sorted(names)


def covers_all(keep: Collection[str]) -> bool:
    """Whether ``keep`` includes every part of every candidate."""
    return WHOLE_RESPONSE in keep or "candidates" in keep
