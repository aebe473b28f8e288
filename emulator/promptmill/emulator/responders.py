"""Who answers the requests: the protocol, and the default responder, which makes its answers up."""

import re
from random import Random
from typing import Any, Protocol

import msgspec

from . import gemini, schemas
from .errors import RowRefused

_TRANSLATE = re.compile(r"\s*translate\b.{0,80}?\b(?:to|into)\s+([\w -]{1,40}?)\s*:\s*(.*)", re.IGNORECASE | re.DOTALL)
_ECHO_LENGTH = 400


class Responder(Protocol):
    """Answers one request."""

    concurrency: int
    """How many requests may be asked at once."""

    def answer(self, request: dict[str, Any], model: str, moment: float) -> dict[str, Any]:
        """A GenerateContentResponse; `moment` is its createTime in seconds. Raises RowRefused."""
        ...


class EchoResponder:
    """Deterministic: says that it is emulated and repeats the prompt, or obeys the response schema."""

    concurrency = 1

    def answer(self, request: dict[str, Any], model: str, moment: float) -> dict[str, Any]:
        """See Responder."""
        gemini.check(request)
        config = gemini.field(request, "generationConfig") or {}
        count = gemini.field(config, "candidateCount") or 1
        texts = [_text(request, model, config, place) for place in range(count)]
        limit = gemini.field(config, "maxOutputTokens")
        if limit is None or all(gemini.text_tokens(text) <= limit for text in texts):
            return gemini.response(request, model, texts, "STOP", moment)
        cut = [text[: limit * gemini.CHARACTERS_PER_TOKEN] for text in texts]
        return gemini.response(request, model, cut, "MAX_TOKENS", moment)


def _text(request: dict[str, Any], model: str, config: dict[str, Any], place: int) -> str:
    schema = next((found for name in _SCHEMAS if (found := gemini.field(config, name))), None)
    mime = gemini.field(config, "responseMimeType")
    if schema is not None:
        return _structured(request, schema, mime, place)
    said = _said(request, model)
    return msgspec.json.encode({"emulated": said}).decode() if mime == "application/json" else said


_SCHEMAS = ("responseSchema", "responseJsonSchema")


def _structured(request: dict[str, Any], schema: Any, mime: str | None, place: int) -> str:
    random = Random(f"{gemini.digest(request)}{place}")  # noqa: S311 - made-up values, no secret
    try:
        value = schemas.instance(schema, random)
    except (ValueError, TypeError, AttributeError) as error:
        raise RowRefused(400, f"Invalid response schema: {error}") from error
    return str(value) if mime == "text/x.enum" else msgspec.json.encode(value).decode()


def _said(request: dict[str, Any], model: str) -> str:
    prompt = gemini.prompt_text(request)
    files = gemini.files(request)
    seen = f" (with {len(files)} file{'s' * (len(files) > 1)}: {', '.join(files)})" if files else ""
    if match := _TRANSLATE.fullmatch(prompt):
        return f"[emulated {model}]{seen} ({match[1]}) {match[2].strip()}"
    return f"[emulated {model}]{seen} You said: {prompt[:_ECHO_LENGTH]}"
