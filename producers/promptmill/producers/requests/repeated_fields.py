"""Brings requests into the form that Vertex's importer takes.

Google accepts one object in place of a list (``"parts": {"text": …}``); its own sample
file gs://cloud-samples-data/batch/prompt_for_batch_gemini_predict.jsonl has that. But a
file with both forms fails the whole job. So single values of repeated fields become
lists. The field names are those of GenerateContentRequest
(cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference).

An empty tool object fails the whole job. ``{"googleSearch": {"excludeDomains": []}}``
means the same as ``{"googleSearch": {}}`` and runs (observed live, 2025-11).
"""

from collections.abc import Callable, Mapping
from typing import Any

from promptmill.producers.models.field_spelling import to_snake_case

_Fix = Callable[[Any], Any]
_SEARCH: Mapping[str, object] = {"googleSearch": {"excludeDomains": []}}
_MAPPING_TYPES = (dict, Mapping)
"""``dict`` comes first because ``isinstance`` is slow for an abstract class."""
_SEARCH_NAMES = ("googleSearch", "google_search")


def normalize_request(request: object) -> object:
    """Return a request with lists in repeated fields; anything else unchanged."""
    return _fix_fields(request, _REQUEST_FIXES)


def _fix_fields(message: Any, fixes: Mapping[str, _Fix]) -> Any:
    """Return a message with fixed fields, or the message itself if none changes."""
    if not isinstance(message, _MAPPING_TYPES):
        return message
    changes = {
        name: fixed
        for name, value in message.items()
        if (fix := fixes.get(name)) and (fixed := fix(value)) is not value
    }
    return {**message, **changes} if changes else message


def _wrap_object(value: Any) -> Any:
    return [value] if isinstance(value, _MAPPING_TYPES) else value


def _wrap_text(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _fix_content(content: Any) -> Any:
    return _fix_fields(content, _CONTENT_FIXES)


def _fix_config(config: Any) -> Any:
    return _fix_fields(config, _CONFIG_FIXES)


def _fix_contents(contents: Any) -> Any:
    return _fix_items(contents, _fix_content)


def _fix_tools(tools: Any) -> Any:
    return _fix_items(tools, _fix_tool)


def _fix_items(value: Any, fix: _Fix) -> Any:
    """Return a list of fixed items, or the value itself if nothing changes."""
    items = _wrap_object(value)
    if not isinstance(items, list | tuple):
        return value
    fixed = [fix(item) for item in items]
    is_same = all(new is old for new, old in zip(fixed, items, strict=True))
    return items if is_same else fixed


def _fix_tool(tool: Any) -> Any:
    if not isinstance(tool, _MAPPING_TYPES) or all(tool.get(name) != {} for name in _SEARCH_NAMES):
        return _fix_fields(tool, _TOOL_FIXES)
    others = {
        name: value for name, value in tool.items() if name not in _SEARCH_NAMES or value != {}
    }
    return _fix_fields({**_SEARCH, **others}, _TOOL_FIXES)


def _fix_search(search: Any) -> Any:
    return _fix_fields(search, _SEARCH_FIXES)


def _fix_tool_config(config: Any) -> Any:
    return _fix_fields(config, _TOOL_CONFIG_FIXES)


def _fix_calling_config(config: Any) -> Any:
    return _fix_fields(config, _CALLING_CONFIG_FIXES)


def _both_spellings(fixes: Mapping[str, _Fix]) -> dict[str, _Fix]:
    """Return fixes for the camelCase names and their snake_case forms."""
    return {**fixes, **{to_snake_case(name): fix for name, fix in fixes.items()}}


_CONTENT_FIXES = _both_spellings({"parts": _wrap_object})
_SEARCH_FIXES = _both_spellings({"excludeDomains": _wrap_text})
_TOOL_FIXES = _both_spellings({"googleSearch": _fix_search, "functionDeclarations": _wrap_object})
_CALLING_CONFIG_FIXES = _both_spellings({"allowedFunctionNames": _wrap_text})
_TOOL_CONFIG_FIXES = _both_spellings({"functionCallingConfig": _fix_calling_config})
_CONFIG_FIXES = _both_spellings({"stopSequences": _wrap_text, "responseModalities": _wrap_text})
_REQUEST_FIXES = _both_spellings(
    {
        "contents": _fix_contents,
        "content": _fix_content,
        "systemInstruction": _fix_content,
        "tools": _fix_tools,
        "toolConfig": _fix_tool_config,
        "safetySettings": _wrap_object,
        "generationConfig": _fix_config,
    }
)
