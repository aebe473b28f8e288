"""Responders: the protocol, and the default one, which invents its answers."""

import re
from random import Random
from typing import Protocol

import msgspec

from . import gemini, schemas
from .errors import RowRefused
from .json_types import JsonObject
from .model_rules import check_model_request
from .model_table import find_model
from .request_fields import get_field
from .thinking import count_thought_tokens, read_thinking_config

_TRANSLATION_PROMPT = re.compile(
    r"\s*translate\b.{0,80}?\b(?:to|into)\s+([\w -]{1,40}?)\s*:\s*(.*)", re.IGNORECASE | re.DOTALL
)
_ECHO_LENGTH = 400


class Responder(Protocol):
    """Answers one request."""

    concurrency: int
    """The maximum number of concurrent requests."""

    def answer_request(self, request: JsonObject, model: str, moment: float) -> JsonObject:
        """Return a GenerateContentResponse created at `moment`. Raises RowRefused."""
        ...


class EchoResponder:
    """Repeats the prompt, or invents values for the response schema. Deterministic."""

    concurrency = 1

    def answer_request(self, request: JsonObject, model: str, moment: float) -> JsonObject:
        """See Responder."""
        table_row = find_model(model)
        check_model_request(request, table_row)
        config = get_field(request, "generationConfig") or {}
        count = get_field(config, "candidateCount") or 1
        thinking_config, digest = read_thinking_config(config), gemini.hash_message(request)
        answer = gemini.Answer(
            [_make_text(request, model, config, index) for index in range(count)],
            digest=digest,
            thought_tokens=count_thought_tokens(thinking_config, table_row, digest),
            shows_thoughts=bool(get_field(thinking_config, "includeThoughts")),
        )
        fitted = gemini.fit_answer(answer, get_field(config, "maxOutputTokens"))
        return gemini.make_response(request, model, fitted, moment)


def _make_text(request: JsonObject, model: str, config: JsonObject, candidate_index: int) -> str:
    schema = next(
        (field_value for name in _SCHEMA_FIELDS if (field_value := get_field(config, name))),
        None,
    )
    mime_type = get_field(config, "responseMimeType")
    if schema is not None:
        return _make_structured_text(request, schema, mime_type, candidate_index)
    echo = _echo_prompt(request, model)
    return (
        msgspec.json.encode({"emulated": echo}).decode()
        if mime_type == "application/json"
        else echo
    )


_SCHEMA_FIELDS = ("responseSchema", "responseJsonSchema")


def _make_structured_text(
    request: JsonObject, schema: JsonObject, mime_type: str | None, candidate_index: int
) -> str:
    random = Random(f"{gemini.hash_message(request)}{candidate_index}")  # noqa: S311 - not a secret
    try:
        value = schemas.make_instance(schema, random)
    except (ValueError, TypeError, AttributeError) as error:
        raise RowRefused(400, f"Invalid response schema: {error}") from error
    return str(value) if mime_type == "text/x.enum" else msgspec.json.encode(value).decode()


def _echo_prompt(request: JsonObject, model: str) -> str:
    prompt = gemini.prompt_text(request)
    files = gemini.list_mime_types(request)
    files_note = (
        f" (with {len(files)} file{'s' * (len(files) > 1)}: {', '.join(files)})" if files else ""
    )
    if match := _TRANSLATION_PROMPT.fullmatch(prompt):
        return f"[emulated {model}]{files_note} ({match[1]}) {match[2].strip()}"
    return f"[emulated {model}]{files_note} You said: {prompt[:_ECHO_LENGTH]}"
