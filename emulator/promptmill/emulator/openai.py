"""The responder that asks a model for real: any server with an OpenAI-compatible /v1/chat/completions."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from . import gemini
from .errors import RowRefused

CONCURRENCY = 8
_TIMEOUT_SECONDS = 300
_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_OPTIONS = {
    "temperature": "temperature",
    "topP": "top_p",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}


class Message(msgspec.Struct, frozen=True):
    """What the model said."""

    content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One candidate."""

    message: Message
    finish_reason: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens, as far as the server counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class Completion(msgspec.Struct, frozen=True):
    """The part of a chat completion that matters here."""

    choices: Annotated[list[Choice], msgspec.Meta(min_length=1)]
    usage: Usage | None = None


class OpenAIResponder:
    """Forwards text requests; `url` is the server's base with or without `/v1`, `model` the name it knows."""

    concurrency = CONCURRENCY

    def __init__(self, url: str, model: str) -> None:
        self._url = f"{url.rstrip('/').removesuffix('/chat/completions').removesuffix('/v1')}/v1/chat/completions"
        self._model = model

    def answer(self, request: dict[str, Any], model: str, moment: float) -> dict[str, Any]:
        """See Responder. `modelVersion` names the model that really answered."""
        gemini.check(request)
        completion = self._complete(chat(request, self._model))
        texts = [choice.message.content or "" for choice in completion.choices]
        reason = _FINISH_REASONS.get(completion.choices[0].finish_reason or "stop", "OTHER")
        response = gemini.response(request, f"{self._model} (emulated {model})", texts, reason, moment)
        return response | {"usageMetadata": response["usageMetadata"] | _usage(completion.usage)}

    def _complete(self, body: dict[str, Any]) -> Completion:
        call = urllib.request.Request(  # noqa: S310 - the operator's own URL
            self._url, msgspec.json.encode(body), {"Content-Type": "application/json", "Authorization": "Bearer none"}
        )
        try:
            with urllib.request.urlopen(call, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                return msgspec.json.decode(answer.read(), type=Completion)
        except urllib.error.HTTPError as error:
            with error:
                raise RowRefused(error.code, f"{error.reason}: {error.read(500).decode(errors='replace')}") from error
        except (OSError, http.client.HTTPException) as error:
            raise RowRefused(503, f"The model server cannot be reached: {error}") from error
        except ValueError as error:
            raise RowRefused(500, f"The model server's answer is not readable: {error}") from error


def chat(request: dict[str, Any], model: str) -> dict[str, Any]:
    """The body of a chat completion that asks the same."""
    config = gemini.field(request, "generationConfig") or {}
    options = {name: gemini.field(config, ours) for ours, name in _OPTIONS.items()}
    body = {"model": model, "messages": list(_messages(request))}
    body |= {name: value for name, value in options.items() if value is not None}
    return body | _format(config)


def to_json_schema(schema: Any) -> Any:
    """Google's OpenAPI dialect as JSON Schema: lower-case types, `nullable` as a type."""
    if isinstance(schema, list):
        return [to_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        name: {key: to_json_schema(value) for key, value in inner.items()}
        if name == "properties"
        else to_json_schema(inner)
        for name, inner in schema.items()
        if name not in {"nullable", "propertyOrdering", "enum", "type"}
    }
    made |= {"enum": schema["enum"]} if "enum" in schema else {}
    if isinstance(kind := schema.get("type"), str):
        made["type"] = [kind.lower(), "null"] if schema.get("nullable") else kind.lower()
    elif kind is not None:
        made["type"] = kind
    return made


def _messages(request: dict[str, Any]) -> Iterator[dict[str, str]]:
    instruction = gemini.field(request, "systemInstruction")
    if instruction:
        yield {"role": "system", "content": _text(instruction)}
    for content in request["contents"]:
        yield {"role": "assistant" if content.get("role") == "model" else "user", "content": _text(content)}


def _text(content: dict[str, Any]) -> str:
    parts = content["parts"]
    if any("text" not in part for part in parts):
        raise RowRefused(400, "This responder forwards text only.")
    return "\n".join(part["text"] for part in parts)


def _format(config: dict[str, Any]) -> dict[str, Any]:
    schema = gemini.field(config, "responseSchema") or gemini.field(config, "responseJsonSchema")
    if schema:
        wrapped = {"name": "response", "schema": to_json_schema(schema)}
        return {"response_format": {"type": "json_schema", "json_schema": wrapped}}
    if gemini.field(config, "responseMimeType") == "application/json":
        return {"response_format": {"type": "json_object"}}
    return {}


def _usage(usage: Usage | None) -> dict[str, int]:
    counted = usage or Usage()
    counts = {
        "promptTokenCount": counted.prompt_tokens,
        "candidatesTokenCount": counted.completion_tokens,
        "totalTokenCount": counted.total_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}
