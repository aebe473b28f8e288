"""Finds requests that Vertex would refuse, before anything is sent.

The batch importer loads the file like BigQuery. One bad line fails the whole job
("Failed to import data"). Bad lines have an empty object, a field name that is not a
column name (``$defs``), nesting over 15 levels, or a list in a list. Google does not
document this; it was observed. ``field_types`` finds conflicts between lines.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from promptmill.producers.requests.converted_texts import is_boolean

MAX_DEPTH = 15
_COLUMN_NAME = re.compile(
    r"(?!(?:true|false|t|f|yes|no|y|n)\Z)[a-z_][a-z0-9_]{0,299}", re.ASCII | re.IGNORECASE
)
"""A name of a BigQuery column that the importer does not read as a boolean.

With a key of one letter, such as ``y``, every row was refused (observed live, 2026-10).
"""
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
    | {"modelArmorConfig", "model_armor_config"}
)
_MISPLACED = {
    "model": "set the model for the run, not for a request",
    "cachedContent": "explicit caching is not available in batch jobs",
    "cached_content": "explicit caching is not available in batch jobs",
}
_REFUSED_BY_IMPORTER = ", which Vertex's importer refuses for the whole job"
_OLD_SEARCH = ("googleSearchRetrieval", "google_search_retrieval")
_EMPTY_TOOLS = frozenset(
    {"urlContext", "codeExecution", "googleMaps", "enterpriseWebSearch"}
    | {"url_context", "code_execution", "google_maps", "enterprise_web_search"}
)
_FILE_URI = re.compile(
    r"gs://.|https?://(?:(?:www\.|m\.)?youtube\.com/(?:watch\?|shorts/|live/|embed/)|youtu\.be/)."
)
"""What Google's page of video understanding names: gs:// or a public YouTube address
(cloud.google.com/vertex-ai/generative-ai/docs/multimodal/video-understanding).
"""
_MAPPING_TYPES = (dict, Mapping)
"""``dict`` comes first because ``isinstance`` is slow for an abstract class."""
_SCALARS = frozenset({str, int, float, bool})
_ROLES = (None, "user", "model", "function")
SAMPLE_REQUEST: Mapping[str, object] = {
    "contents": [{"role": "user", "parts": [{"text": "a prompt"}]}]
}
"""A valid request, for checking one field at a time."""


def check_request(request: object) -> str:
    """Return why Vertex would refuse a GenerateContentRequest; "" for a valid one."""
    if not isinstance(request, _MAPPING_TYPES):
        return _describe_non_mapping(request)
    return (
        _check_fields(request)
        or _check_contents(request["contents"])
        or _check_instruction(request)
        or _check_tools(request.get("tools"))
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
            not isinstance(content, _MAPPING_TYPES)
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


def _check_instruction(request: Mapping[str, object]) -> str:
    name = "system_instruction" if "system_instruction" in request else "systemInstruction"
    instruction = request.get(name)
    if instruction is None or (
        isinstance(instruction, _MAPPING_TYPES)
        and isinstance(instruction.get("parts"), list | tuple)
    ):
        return ""
    return f"{name} must be a mapping with parts, such as {{'parts': [{{'text': …}}]}}"


def _check_tools(tools: object) -> str:
    if not isinstance(tools, list | tuple):
        return ""
    return next(filter(None, map(_check_tool, tools)), "")


def _check_tool(tool: object) -> str:
    fields = tool.items() if isinstance(tool, _MAPPING_TYPES) else ()
    for name, value in fields:
        if name in _OLD_SEARCH:
            return f"tools[].{name} is the form of Gemini 1; use {{'googleSearch': {{}}}}"
        if name in _EMPTY_TOOLS and isinstance(value, _MAPPING_TYPES) and not value:
            return (
                f"request.tools[].{name} is an empty object{_REFUSED_BY_IMPORTER}, and no other "
                "form of this tool is known to work in batch jobs; remove it"
            )
    return ""


def _check_part(part: object) -> str:
    if not isinstance(part, _MAPPING_TYPES) or all(value is None for value in part.values()):
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
    if not isinstance(file, _MAPPING_TYPES):
        return "fileData must be a mapping of fileUri and mimeType"
    if not _FILE_URI.match(str(file.get("fileUri", file.get("file_uri", "")))):
        return (
            "fileData.fileUri must be a gs:// URI or the address of a public YouTube video; "
            "copy other files to a bucket"
        )
    return "" if file.get("mimeType", file.get("mime_type")) else "fileData.mimeType is missing"


def _check_inline_data(part: Mapping[str, object]) -> str:
    inline = part.get("inlineData", part.get("inline_data"))
    if inline is None:
        return ""
    if not isinstance(inline, _MAPPING_TYPES) or not inline.get("data"):
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
    return _check_object(value, depth, path) if isinstance(value, _MAPPING_TYPES) else ""


# A BigQuery column cannot hold null or lists in a list.
def _check_list_item(item: object, depth: int, path: str) -> str:
    if item is None or isinstance(item, list | tuple):
        item_type = "null" if item is None else "a list"
        return f"{path} is a list that contains {item_type}{_REFUSED_BY_IMPORTER}"
    return _check_object(item, depth, path + "[]") if isinstance(item, _MAPPING_TYPES) else ""


def _check_object(value: Mapping[str, object], depth: int, path: str) -> str:
    if not value:
        return f"{path} is an empty object{_REFUSED_BY_IMPORTER}"
    if depth > MAX_DEPTH:
        return f"{path} is nested over {MAX_DEPTH} levels deep{_REFUSED_BY_IMPORTER}"
    for name, item in value.items():
        if not _is_column_name(name):
            return _describe_name(name, path)
        if type(item) not in _SCALARS and (
            refusal := _check_value(item, depth + 1, f"{path}.{name}")
        ):
            return refusal
    return ""


def _describe_name(name: object, path: str) -> str:
    if isinstance(name, str) and is_boolean(name):
        return (
            f"{path} has a field named {name!r}, which Vertex's importer reads as a boolean; "
            "use a longer name"
        )
    return (
        f"{path} has a field named {name!r}{_REFUSED_BY_IMPORTER}; start a name with a letter "
        "or _, and use letters, digits and _ only"
    )


@lru_cache(1_000)  # three times as fast as the pattern
def _is_column_name(name: object) -> bool:
    return isinstance(name, str) and _COLUMN_NAME.fullmatch(name) is not None
