"""Finds requests that Vertex would refuse, before anything is sent.

The batch importer loads the file like BigQuery. One bad line fails the whole job
("Failed to import data"). Bad lines have an empty object, a field name that is not a
column name (``$defs``), nesting over 15 levels, or a list in a list. Google does not
document this; it was observed. ``field_types`` finds conflicts between lines.
"""

import re
from collections.abc import Mapping

MAX_DEPTH = 15
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_REQUEST_FIELDS = frozenset(
    {
        "contents",
        "systemInstruction",
        "system_instruction",
        "generationConfig",
        "generation_config",
        "tools",
    }
    | {"toolConfig", "tool_config", "safetySettings", "safety_settings", "labels"}
)
_MISPLACED = {
    "model": "set the model for the run, not for a request",
    "cachedContent": "explicit caching is not available in batch jobs",
    "cached_content": "explicit caching is not available in batch jobs",
}
_REFUSED_BY_IMPORTER = ", which Vertex's importer refuses for the whole job"
_SCALARS = frozenset({str, int, float, bool})
_ROLES = (None, "user", "model", "function")
SAMPLE_REQUEST: Mapping[str, object] = {
    "contents": [{"role": "user", "parts": [{"text": "a prompt"}]}]
}
"""A valid request, for checking one field at a time."""


def check_request(request: object) -> str:
    """Return why Vertex would refuse a GenerateContentRequest; "" for a valid one."""
    if not isinstance(request, Mapping):
        return _describe_non_mapping(request)
    return (
        _check_fields(request)
        or _check_contents(request["contents"])
        or _check_value(request, 1, "request")
    )


def check_importable(part: Mapping[str, object]) -> str:
    """Return why the importer would refuse part of a request; "" if it would not."""
    return _check_value(part, 1, "request")


def _describe_non_mapping(request: object) -> str:
    if request is None:
        return "the row has neither request nor prompt"
    return f"a request must be a mapping with contents, not {type(request).__name__}"


def _check_fields(request: Mapping[str, object]) -> str:
    for name in request:
        if name in _MISPLACED:
            return f"{name}: {_MISPLACED[name]}"
        if name not in _REQUEST_FIELDS:
            known_fields = sorted(field for field in _REQUEST_FIELDS if "_" not in field)
            return f"unknown field {name!r}; use {', '.join(known_fields)}"
    if "contents" not in request:
        return "contents is missing"
    return ""


def _check_contents(contents: object) -> str:
    if not isinstance(contents, list) or not contents:
        return "contents must be a list with at least one entry"
    for content in contents:
        if (
            not isinstance(content, Mapping)
            or not isinstance(content.get("parts"), list)
            or not content["parts"]
        ):
            return "each entry of contents must have parts, a list with at least one part"
        if content.get("role") not in _ROLES:
            return f"role {content.get('role')!r} is not one of user, model, function"
        for part in content["parts"]:
            if refusal := _check_part(part):
                return refusal
    if not any(_has_content(part) for content in contents for part in content["parts"]):
        return "the prompt is empty"
    return ""


def _check_part(part: object) -> str:
    if not isinstance(part, Mapping) or all(value is None for value in part.values()):
        return (
            "a part must be a mapping such as {'text': …} "
            "or {'fileData': {'fileUri': …, 'mimeType': …}}"
        )
    if "text" in part and not isinstance(part["text"], str):
        return "the text of a part must be a string"
    return _check_file_data(part) or _check_inline_data(part)


def _check_file_data(part: Mapping[str, object]) -> str:
    file = part.get("fileData", part.get("file_data"))
    if file is None:
        return ""
    if not isinstance(file, Mapping):
        return "fileData must be a mapping of fileUri and mimeType"
    if not str(file.get("fileUri", file.get("file_uri", ""))).startswith(
        ("gs://", "https://", "http://")
    ):
        return "fileData.fileUri must be a gs:// or https:// URI"
    return "" if file.get("mimeType", file.get("mime_type")) else "fileData.mimeType is missing"


def _check_inline_data(part: Mapping[str, object]) -> str:
    inline = part.get("inlineData", part.get("inline_data"))
    if inline is None:
        return ""
    if not isinstance(inline, Mapping) or not inline.get("data"):
        return "inlineData must be a mapping of data, in base64, and mimeType"
    return (
        "" if inline.get("mimeType", inline.get("mime_type")) else "inlineData.mimeType is missing"
    )


def _has_content(part: Mapping[str, object]) -> bool:
    text = part.get("text")
    return (
        any(name != "text" for name in part)
        if text is None
        else bool(str(text).strip()) or len(part) > 1
    )


def _check_value(value: object, depth: int, path: str) -> str:
    if isinstance(value, list | tuple):
        return next(filter(None, [_check_list_item(item, depth, path) for item in value]), "")
    return _check_object(value, depth, path) if isinstance(value, Mapping) else ""


# A BigQuery column cannot hold null or lists in a list.
def _check_list_item(item: object, depth: int, path: str) -> str:
    if item is None or isinstance(item, list | tuple):
        item_type = "null" if item is None else "a list"
        return f"{path} is a list that contains {item_type}{_REFUSED_BY_IMPORTER}"
    return _check_object(item, depth, path + "[]") if isinstance(item, Mapping) else ""


def _check_object(value: Mapping[str, object], depth: int, path: str) -> str:
    if not value:
        return f"{path} is an empty object{_REFUSED_BY_IMPORTER}"
    if depth > MAX_DEPTH:
        return f"{path} is nested over {MAX_DEPTH} levels deep{_REFUSED_BY_IMPORTER}"
    for name, item in value.items():
        if not isinstance(name, str) or not _COLUMN_NAME.fullmatch(name):
            return f"{path} has a field named {name!r}{_REFUSED_BY_IMPORTER}"
        if type(item) not in _SCALARS and (
            refusal := _check_value(item, depth + 1, f"{path}.{name}")
        ):
            return refusal
    return ""
