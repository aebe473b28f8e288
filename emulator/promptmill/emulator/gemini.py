"""Gemini's behaviour for one request: validation, token counts and responses."""

import hashlib

import msgspec

from .clock import format_timestamp
from .errors import RowRefused
from .json_types import JsonObject
from .request_fields import get_field, list_items, to_camel_case
from .schemas import find_unknown_fields

REQUEST_FIELDS = frozenset(
    {
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "safetySettings",
        "generationConfig",
        "labels",
        "cachedContent",
        "modelArmorConfig",
    }
)
ROLES = frozenset({"user", "model", "function"})
PART_DATA = frozenset(
    {
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
    }
)
MAX_CANDIDATES = 8
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_FILE = 258
"""Gemini's token count for a small image."""


def check_request(request: JsonObject) -> None:
    """Raise RowRefused (400) for a request that Gemini rejects."""
    _check_field_names(request)
    contents = list_items(request.get("contents"))
    if not contents:
        raise _invalid_request(
            "Unable to submit request because at least one contents field is required."
        )
    for index, content in enumerate(contents):
        _check_content(content, f"contents[{index}]")
    instruction = get_field(request, "systemInstruction")
    if instruction is not None:
        _check_parts(get_field(instruction, "parts"), "system_instruction")
    _check_config(get_field(request, "generationConfig") or {})


def _check_field_names(request: JsonObject) -> None:
    for name in request:
        if to_camel_case(name) not in REQUEST_FIELDS:
            message = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
            raise _invalid_request(message)


def prompt_text(request: JsonObject) -> str:
    """Return the text of the last user turn."""
    turns = list_items(request["contents"])
    contents = [content for content in turns if content.get("role", "user") == "user"]
    return "\n".join(text for content in contents[-1:] for text in _text_parts(content))


def count_prompt_tokens(request: JsonObject) -> int:
    """Estimate the prompt tokens: one per 4 characters, and 258 per file."""
    messages = [*list_items(request["contents"]), get_field(request, "systemInstruction") or {}]
    characters = sum(len(text) for message in messages for text in _text_parts(message))
    return max(1, -(-characters // CHARACTERS_PER_TOKEN)) + TOKENS_PER_FILE * len(
        list_mime_types(request)
    )


def count_text_tokens(text: str) -> int:
    """Estimate the tokens of a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def list_mime_types(request: JsonObject) -> list[str]:
    """Return the MIME types of all files in the contents."""
    turns = list_items(request["contents"])
    parts = [part for content in turns for part in list_items(content["parts"])]
    data = [get_field(part, "fileData") or get_field(part, "inlineData") for part in parts]
    return [str(get_field(file, "mimeType") or "?") for file in data if file]


def make_response(
    request: JsonObject, model: str, texts: list[str], finish_reason: str, moment: float
) -> JsonObject:
    """Return a GenerateContentResponse with one candidate for each text."""
    prompt_count = count_prompt_tokens(request)
    candidate_count = sum(count_text_tokens(text) for text in texts)
    usage = {
        "promptTokenCount": prompt_count,
        "candidatesTokenCount": candidate_count,
        "totalTokenCount": prompt_count + candidate_count,
    }
    candidates = [_make_candidate(text, finish_reason, index) for index, text in enumerate(texts)]
    return {
        "candidates": candidates,
        "usageMetadata": usage | {"trafficType": "ON_DEMAND"},
        "modelVersion": model,
        "createTime": format_timestamp(moment),
        "responseId": hash_message(request)[:22],
    }


def hash_message(message: object) -> str:
    """Return a hash of the content, independent of the order of fields."""
    return hashlib.blake2b(
        msgspec.json.encode(message, order="deterministic"), digest_size=16
    ).hexdigest()


def _make_candidate(text: str, finish_reason: str, index: int) -> JsonObject:
    content = {"role": "model", "parts": [{"text": text}]}
    candidate: JsonObject = {"content": content, "finishReason": finish_reason}
    return candidate | ({"index": index} if index else {})


def _check_content(content: object, path: str) -> None:
    role = get_field(content, "role")
    if role is not None and role not in ROLES:
        raise _invalid_request("Please use a valid role: user, model.")
    _check_parts(get_field(content, "parts"), path)


def _check_parts(parts: object, path: str) -> None:
    part_list = list_items(parts)
    if not part_list:
        raise _invalid_request(
            f"Unable to submit request because it must include at least one parts field: {path}."
        )
    for index, part in enumerate(part_list):
        data = (
            [name for name in part if to_camel_case(name) in PART_DATA]
            if isinstance(part, dict)
            else []
        )
        if len(data) != 1:
            raise _invalid_request(
                f"{path}.parts[{index}].data: required oneof field 'data' "
                "must have one initialized field"
            )
        if data == ["text"] and (not isinstance(part["text"], str) or not part["text"]):
            raise _invalid_request(
                "Unable to submit request because it has an empty text parameter: "
                f"{path}.parts[{index}].text"
            )


def _check_config(config: object) -> None:
    if not isinstance(config, dict):
        raise _invalid_request("Invalid value at 'generation_config'.")
    for location in find_unknown_fields(
        get_field(config, "responseSchema"), "generation_config.response_schema"
    ):
        path, _, name = location.rpartition(": ")
        raise _invalid_request(
            f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': "
            "Cannot find field."
        )
    temperature, limit, count = (
        get_field(config, name) for name in ("temperature", "maxOutputTokens", "candidateCount")
    )
    if temperature is not None and not (
        isinstance(temperature, int | float) and 0 <= temperature <= 2
    ):
        raise _invalid_request(
            f"Unable to submit request because it has a temperature value of {temperature}: "
            "from 0 to 2."
        )
    if limit is not None and not (isinstance(limit, int) and limit > 0):
        raise _invalid_request(
            f"Unable to submit request because it has a maxOutputTokens value of {limit}."
        )
    if count is not None and not (isinstance(count, int) and 1 <= count <= MAX_CANDIDATES):
        raise _invalid_request(
            f"Unable to submit request because it has a candidateCount value of {count}."
        )


def _text_parts(message: object) -> list[str]:
    parts = list_items(get_field(message, "parts"))
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]


def _invalid_request(message: str) -> RowRefused:
    return RowRefused(400, message)
