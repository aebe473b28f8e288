"""Selects the parts of a GenerateContentResponse that a run keeps. Pure functions.

The selection has the shape of the response, so a part is at its documented path.
"""

from collections.abc import Collection, Mapping
from typing import Any

from promptmill.producers.contract.kept_parts import WHOLE_RESPONSE
from promptmill.workers.output.lenient_json import is_empty

Json = dict[str, Any]

_CANDIDATE_FIELDS = {
    "citations": ("citationMetadata",),
    "grounding": ("groundingMetadata",),
    "logprobs": ("avgLogprobs", "logprobsResult"),
    "safety": ("safetyRatings",),
    "url_context": ("urlContextMetadata",),
}
_RESPONSE_FIELDS = {"grounding": ("groundingMetadata",), "safety": ("promptFeedback",)}
PAID_FIELDS = {
    "citationMetadata": "citations",
    "groundingMetadata": "grounding",
    "logprobsResult": "logprobs",
    "urlContextMetadata": "url_context",
}
"""Members of a candidate that a request asked for, and the parts that they belong to."""


def select_parts(response: object, keep: Collection[str]) -> Json | None:
    """Return the parts of a response that ``keep`` names; None if it has none of them."""
    if not isinstance(response, dict) or not response:
        return None
    if WHOLE_RESPONSE in keep:
        return response
    selected = _select_fields(response, keep, _RESPONSE_FIELDS)
    listed = response.get("candidates")
    candidates = listed if isinstance(listed, list) else [listed] if listed else []
    selected_candidates = [_select_candidate(candidate, keep) for candidate in candidates]
    if any(selected_candidates):
        selected["candidates"] = selected_candidates
    return selected or None


def _select_candidate(candidate: object, keep: Collection[str]) -> object:
    if "candidates" in keep:
        return candidate
    if not isinstance(candidate, dict):
        return {}
    selected = _select_fields(candidate, keep, _CANDIDATE_FIELDS)
    if "thoughts" in keep and (thoughts := _select_thoughts(candidate.get("content"))):
        selected["content"] = {"parts": thoughts}
    return selected


def _select_fields(
    owner: Json, keep: Collection[str], fields: Mapping[str, tuple[str, ...]]
) -> Json:
    names = [name for part in keep for name in fields.get(part, ())]
    return {name: owner[name] for name in names if not is_empty(owner.get(name))}


def _select_thoughts(content: object) -> list[object]:
    parts = content.get("parts") if isinstance(content, dict) else None
    listed: list[object] = parts if isinstance(parts, list) else [parts]
    return [part for part in listed if isinstance(part, dict) and _is_thought(part)]


def _is_thought(part: Json) -> bool:
    return part.get("thought") is True or bool(part.get("thoughtSignature"))
