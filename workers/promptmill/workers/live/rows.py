"""The rows that the live check sends. Each belief about rows has one that decides it."""

import json
from typing import Any, NamedTuple

from promptmill.config.json_types import JsonObject
from promptmill.producers.requests.encode import join_wire_key

PLAIN = "plain"
NUMBER = "number"
OBJECT = "object"
THINKING = "thinking"
ROLE = "role"
ENUM = "enum"
PROPERTY = "property"
SEARCH = "search"
TAG = "rlive"
MAX_OUTPUT_TOKENS = 64
METADATA = '{"shelf":"7"}'
"""Metadata of every row, as the product sends it: a string that holds JSON."""


class ProbeRow(NamedTuple):
    """A row: its name, the text of its prompt, and the other fields of its request."""

    name: str
    text: str
    fields: JsonObject
    role: str = "user"


def _limit_tokens(**config: Any) -> JsonObject:
    return {"generationConfig": {"maxOutputTokens": MAX_OUTPUT_TOKENS} | config}


def _answer_with(mime_type: str, schema: JsonObject) -> JsonObject:
    return _limit_tokens(responseMimeType=mime_type, responseSchema=schema)


_ROWS = (
    ProbeRow(PLAIN, "Reply with one word: ready", _limit_tokens(temperature=1.0)),
    ProbeRow(NUMBER, "42", _limit_tokens()),
    ProbeRow(
        OBJECT,
        "Name a colour.",
        _limit_tokens() | {"systemInstruction": {"parts": {"text": "Reply with one word."}}},
    ),
    ProbeRow(
        THINKING,
        "Which primes below 200 are the sum of two squares? Prove it for each.",
        _limit_tokens(thinkingConfig={"thinkingLevel": "HIGH"}),
    ),
    ProbeRow(ROLE, "No turn can have this role.", _limit_tokens(), role="tester"),
    ProbeRow(
        ENUM,
        "Choose 1 or 2.",
        _answer_with("text/x.enum", {"type": "STRING", "enum": ["1", "2"]}),
    ),
    ProbeRow(
        PROPERTY,
        "Choose a height.",
        _answer_with(
            "application/json",
            {"type": "OBJECT", "properties": {"y": {"type": "NUMBER"}}, "required": ["y"]},
        ),
    ),
)
_SEARCH_ROW = ProbeRow(
    SEARCH,
    "What is the weather in London today?",
    _limit_tokens() | {"tools": [{"googleSearch": {"excludeDomains": []}}]},
)


def build_rows(*, search: bool = False) -> dict[str, ProbeRow]:
    """Return the rows of the main job by name, with the grounded one if ``search``."""
    return {row.name: row for row in (*_ROWS, *([_SEARCH_ROW] if search else []))}


def build_lines(*, search: bool = False) -> list[str]:
    """Return the lines of the main job's input, without newlines."""
    probe_rows = build_rows(search=search).values()
    return [_encode_row(number, row) for number, row in enumerate(probe_rows, 1)]


def wire_key(name: str) -> str:
    """Return the key that a row has on the wire."""
    return join_wire_key(TAG, list(build_rows(search=True)).index(name) + 1, name)


def _encode_row(number: int, row: ProbeRow) -> str:
    """Encode a row. The validation of the product would refuse some of them."""
    contents = [{"role": row.role, "parts": [{"text": row.text}]}]
    line = {
        "key": join_wire_key(TAG, number, row.name),
        "metadata": METADATA,
        "request": {"contents": contents} | row.fields,
    }
    return json.dumps(line, separators=(",", ":"))
