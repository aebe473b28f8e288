"""A responder that asks a real model on an OpenAI-compatible server."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from . import gemini
from .errors import RowRefused
from .json_types import JsonObject
from .model_rules import check_model_request
from .model_table import find_model
from .request_fields import get_field, list_items

CONCURRENCY = 8
_TIMEOUT_SECONDS = 300
_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_GENERATION_OPTIONS = {
    "temperature": "temperature",
    "topP": "top_p",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}


class Message(msgspec.Struct, frozen=True):
    """The message of a choice."""

    content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One candidate."""

    message: Message
    finish_reason: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """The token counts that the server reports."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class Completion(msgspec.Struct, frozen=True):
    """The fields of a chat completion that the emulator uses."""

    choices: Annotated[list[Choice], msgspec.Meta(min_length=1)]
    usage: Usage | None = None


class OpenAIResponder:
    """Forwards text requests to `model` at `url`, with or without `/v1`."""

    concurrency = CONCURRENCY

    def __init__(self, url: str, model: str) -> None:
        base_url = url.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1")
        self._url = f"{base_url}/v1/chat/completions"
        self._model = model

    def answer_request(self, request: JsonObject, model: str, moment: float) -> JsonObject:
        """See Responder. `modelVersion` names the model that answered."""
        check_model_request(request, find_model(model))
        completion = self._request_completion(make_chat_body(request, self._model))
        texts = [choice.message.content or "" for choice in completion.choices]
        reason = _FINISH_REASONS.get(completion.choices[0].finish_reason or "stop", "OTHER")
        version = f"{self._model} (emulated {model})"
        response = gemini.make_response(request, version, gemini.Answer(texts, reason), moment)
        return response | {
            "usageMetadata": response["usageMetadata"] | _usage_counts(completion.usage)
        }

    def _request_completion(self, body: JsonObject) -> Completion:
        http_request = urllib.request.Request(  # noqa: S310 - the operator's own URL
            self._url,
            msgspec.json.encode(body),
            {"Content-Type": "application/json", "Authorization": "Bearer none"},
        )
        try:
            opened = urllib.request.urlopen(http_request, timeout=_TIMEOUT_SECONDS)  # noqa: S310
            with opened as http_response:
                return msgspec.json.decode(http_response.read(), type=Completion)
        except urllib.error.HTTPError as error:
            with error:
                raise RowRefused(
                    error.code, f"{error.reason}: {error.read(500).decode(errors='replace')}"
                ) from error
        except (OSError, http.client.HTTPException) as error:
            raise RowRefused(503, f"The model server cannot be reached: {error}") from error
        except ValueError as error:
            raise RowRefused(500, f"The model server sent an invalid response: {error}") from error


def make_chat_body(request: JsonObject, model: str) -> JsonObject:
    """Return the body of the equivalent chat completion request."""
    config = get_field(request, "generationConfig") or {}
    options = {
        name: get_field(config, gemini_name) for gemini_name, name in _GENERATION_OPTIONS.items()
    }
    body = {"model": model, "messages": list(_chat_messages(request))}
    body |= {name: value for name, value in options.items() if value is not None}
    return body | _response_format(config)


def to_json_schema(schema: object) -> object:
    """Convert Google's OpenAPI dialect to JSON Schema."""
    if isinstance(schema, list):
        return [to_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    json_schema: JsonObject = {
        name: _convert_field(name, value)
        for name, value in schema.items()
        if name not in {"nullable", "propertyOrdering", "enum", "type"}
    }
    json_schema |= {"enum": schema["enum"]} if "enum" in schema else {}
    return json_schema | _convert_type(schema.get("type"), schema.get("nullable"))


def _convert_field(name: str, value: Any) -> object:
    if name == "properties":
        return {key: to_json_schema(schema) for key, schema in value.items()}
    return to_json_schema(value)


def _convert_type(kind: object, nullable: object) -> JsonObject:
    if isinstance(kind, str):
        return {"type": [kind.lower(), "null"] if nullable else kind.lower()}
    return {} if kind is None else {"type": kind}


def _chat_messages(request: JsonObject) -> Iterator[dict[str, str]]:
    instruction = get_field(request, "systemInstruction")
    if instruction:
        yield {"role": "system", "content": _content_text(instruction)}
    for content in list_items(request["contents"]):
        yield {
            "role": "assistant" if content.get("role") == "model" else "user",
            "content": _content_text(content),
        }


def _content_text(content: JsonObject) -> str:
    parts = list_items(content["parts"])
    if any("text" not in part for part in parts):
        raise RowRefused(400, "This responder forwards text only.")
    return "\n".join(part["text"] for part in parts)


def _response_format(config: JsonObject) -> JsonObject:
    schema = get_field(config, "responseSchema") or get_field(config, "responseJsonSchema")
    if schema:
        named_schema = {"name": "response", "schema": to_json_schema(schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named_schema}}
    if get_field(config, "responseMimeType") == "application/json":
        return {"response_format": {"type": "json_object"}}
    return {}


def _usage_counts(usage: Usage | None) -> dict[str, int]:
    reported_usage = usage or Usage()
    counts = {
        "promptTokenCount": reported_usage.prompt_tokens,
        "candidatesTokenCount": reported_usage.completion_tokens,
        "totalTokenCount": reported_usage.total_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}
