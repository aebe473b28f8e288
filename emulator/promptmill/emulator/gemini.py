"""Gemini's behaviour for one request: validation, token counts and responses."""

import hashlib
from dataclasses import dataclass, replace

import msgspec

from .clock import format_timestamp
from .errors import RowRefused
from .grounding import has_search, make_grounding
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
FILE_URIS = ("gs://", "https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/")
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


@dataclass(frozen=True)
class Answer:
    """What a model answers: the text of each candidate, and the tokens of its thoughts.

    `digest` is the hash of the request, if it is known.
    With `shows_thoughts` the thoughts are a part of the answer, as with `includeThoughts`.
    """

    texts: list[str]
    finish_reason: str = "STOP"
    digest: str = ""
    thought_tokens: int = 0
    shows_thoughts: bool = False


def fit_answer(answer: Answer, limit: int | None) -> Answer:
    """Cut an answer at `maxOutputTokens`. Thoughts count, and can leave no room for text."""
    tokens_left = (limit or 0) - answer.thought_tokens
    if limit is None or all(count_text_tokens(text) <= tokens_left for text in answer.texts):
        return answer
    texts = [text[: max(0, tokens_left) * CHARACTERS_PER_TOKEN] for text in answer.texts]
    thought_tokens = min(answer.thought_tokens, limit)
    return replace(answer, texts=texts, finish_reason="MAX_TOKENS", thought_tokens=thought_tokens)


def make_response(request: JsonObject, model: str, answer: Answer, moment: float) -> JsonObject:
    """Return a GenerateContentResponse with one candidate for each text."""
    candidates = [_make_candidate(answer, index) for index in range(len(answer.texts))]
    if has_search(request):
        query = prompt_text(request)
        for candidate, text in zip(candidates, answer.texts, strict=True):
            candidate["groundingMetadata"] = make_grounding(query, text)
    return {
        "candidates": candidates,
        "usageMetadata": _count_usage(request, answer),
        "modelVersion": model,
        "createTime": format_timestamp(moment),
        "responseId": (answer.digest or hash_message(request))[:22],
    }


def _count_usage(request: JsonObject, answer: Answer) -> JsonObject:
    """Return `usageMetadata`, in which counts of 0 are absent."""
    counts = {
        "promptTokenCount": count_prompt_tokens(request),
        "candidatesTokenCount": sum(count_text_tokens(text) for text in answer.texts),
        "thoughtsTokenCount": answer.thought_tokens,
    }
    usage: JsonObject = {name: count for name, count in counts.items() if count}
    return usage | {"totalTokenCount": sum(counts.values()), "trafficType": "ON_DEMAND"}


def hash_message(message: object) -> str:
    """Return a hash of the content, independent of the order of fields."""
    return hashlib.blake2b(
        msgspec.json.encode(message, order="deterministic"), digest_size=16
    ).hexdigest()


def _make_candidate(answer: Answer, index: int) -> JsonObject:
    """Return a candidate. One whose thoughts left no room for text has no parts."""
    thought = {"text": "Emulated thoughts.", "thought": True}
    parts: list[JsonObject] = [thought] if answer.shows_thoughts and answer.thought_tokens else []
    parts += [{"text": text} for text in answer.texts[index : index + 1] if text]
    content = {"role": "model"} | ({"parts": parts} if parts else {})
    candidate: JsonObject = {"content": content, "finishReason": answer.finish_reason}
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
        if data == ["text"] and not isinstance(part["text"], str):
            value = msgspec.json.encode(part["text"]).decode()
            raise _invalid_request(
                f"Invalid value at '{path}.parts[{index}].text' (TYPE_STRING), {value}"
            )
        _check_file(get_field(part, "fileData"), f"{path}.parts[{index}]")
        if data == ["text"] and not part["text"]:
            raise _invalid_request(
                "Unable to submit request because it has an empty text parameter: "
                f"{path}.parts[{index}].text"
            )


def _check_file(file: object, path: str) -> None:
    """Batch jobs read files from Cloud Storage, and public videos of YouTube."""
    uri = get_field(file, "fileUri")
    if file is not None and not str(uri).startswith(FILE_URIS):
        raise _invalid_request(f"Unsupported file URI type: {uri} at {path}.file_data.file_uri")


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
