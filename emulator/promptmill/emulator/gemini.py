"""Gemini's side of one request: what it refuses, how it counts tokens, what a response looks like."""

import hashlib
from functools import lru_cache
from typing import Any

import msgspec

from .clock import timestamp
from .errors import RowRefused
from .schemas import strange_fields

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
    {"text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"}
)
MAX_CANDIDATES = 8
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_FILE = 258
"""What Gemini counts for a small image."""


def field(message: Any, name: str) -> Any:
    """A field by its camelCase name, which a request may also spell in snake_case."""
    if not isinstance(message, dict):
        return None
    return message[name] if name in message else message.get(_snake(name))


def check(request: dict[str, Any]) -> None:
    """Raises RowRefused (400) for a request that Gemini would not answer."""
    for name in request:
        if _camel(name) not in REQUEST_FIELDS:
            raise _invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    contents = request.get("contents")
    if not isinstance(contents, list) or not contents:
        raise _invalid("Unable to submit request because at least one contents field is required.")
    for place, content in enumerate(contents):
        _check_content(content, f"contents[{place}]")
    instruction = field(request, "systemInstruction")
    if instruction is not None:
        _check_parts(field(instruction, "parts"), "system_instruction")
    _check_config(field(request, "generationConfig") or {})


def prompt_text(request: dict[str, Any]) -> str:
    """The text of the last turn of the user."""
    contents = [content for content in request["contents"] if content.get("role", "user") == "user"]
    return "\n".join(text for content in contents[-1:] for text in _texts(content))


def prompt_tokens(request: dict[str, Any]) -> int:
    """An estimate of the tokens of contents and system instruction: a quarter of the characters, 258 for each file."""
    messages = [*request["contents"], field(request, "systemInstruction") or {}]
    characters = sum(len(text) for message in messages for text in _texts(message))
    return max(1, -(-characters // CHARACTERS_PER_TOKEN)) + TOKENS_PER_FILE * len(files(request))


def text_tokens(text: str) -> int:
    """An estimate of the tokens of a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def files(request: dict[str, Any]) -> list[str]:
    """The MIME types of all files in the contents."""
    parts = [part for content in request["contents"] for part in content["parts"]]
    data = [field(part, "fileData") or field(part, "inlineData") for part in parts]
    return [str(field(one, "mimeType") or "?") for one in data if one]


def response(request: dict[str, Any], model: str, texts: list[str], reason: str, moment: float) -> dict[str, Any]:
    """A GenerateContentResponse with one candidate for each text."""
    asked, answered = prompt_tokens(request), sum(text_tokens(text) for text in texts)
    usage = {"promptTokenCount": asked, "candidatesTokenCount": answered, "totalTokenCount": asked + answered}
    return {
        "candidates": [_candidate(text, reason, place) for place, text in enumerate(texts)],
        "usageMetadata": usage | {"trafficType": "ON_DEMAND"},
        "modelVersion": model,
        "createTime": timestamp(moment),
        "responseId": digest(request)[:22],
    }


def digest(message: Any) -> str:
    """A hash that only the content decides."""
    return hashlib.blake2b(msgspec.json.encode(message, order="deterministic"), digest_size=16).hexdigest()


def _candidate(text: str, reason: str, place: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": reason}
    return candidate | ({"index": place} if place else {})


def _check_content(content: Any, path: str) -> None:
    role = field(content, "role")
    if role is not None and role not in ROLES:
        raise _invalid("Please use a valid role: user, model.")
    _check_parts(field(content, "parts"), path)


def _check_parts(parts: Any, path: str) -> None:
    if not isinstance(parts, list) or not parts:
        raise _invalid(f"Unable to submit request because it must include at least one parts field: {path}.")
    for place, part in enumerate(parts):
        data = [name for name in part if _camel(name) in PART_DATA] if isinstance(part, dict) else []
        if len(data) != 1:
            raise _invalid(f"{path}.parts[{place}].data: required oneof field 'data' must have one initialized field")
        if data == ["text"] and (not isinstance(part["text"], str) or not part["text"]):
            raise _invalid(
                f"Unable to submit request because it has an empty text parameter: {path}.parts[{place}].text"
            )


def _check_config(config: Any) -> None:
    if not isinstance(config, dict):
        raise _invalid("Invalid value at 'generation_config'.")
    for place in strange_fields(field(config, "responseSchema"), "generation_config.response_schema"):
        where, _, name = place.rpartition(": ")
        raise _invalid(f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field.")
    temperature, limit, count = (field(config, name) for name in ("temperature", "maxOutputTokens", "candidateCount"))
    if temperature is not None and not (isinstance(temperature, int | float) and 0 <= temperature <= 2):
        raise _invalid(f"Unable to submit request because it has a temperature value of {temperature}: from 0 to 2.")
    if limit is not None and not (isinstance(limit, int) and limit > 0):
        raise _invalid(f"Unable to submit request because it has a maxOutputTokens value of {limit}.")
    if count is not None and not (isinstance(count, int) and 1 <= count <= MAX_CANDIDATES):
        raise _invalid(f"Unable to submit request because it has a candidateCount value of {count}.")


def _texts(message: Any) -> list[str]:
    parts = message.get("parts") or [] if isinstance(message, dict) else []
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]


def _invalid(message: str) -> RowRefused:
    return RowRefused(400, message)


@lru_cache(1024)
def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


@lru_cache(1024)
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
