"""Finds texts that Vertex's importer would turn into numbers or booleans.

The batch importer detects types as a BigQuery load does. A field whose texts are all
numbers becomes a number in the whole file: "000000" becomes 0. A field whose texts are
all booleans becomes a boolean. Gemini then refuses the rows, because the field must be
a string. One text that is neither keeps the field a text. Google does not document
this; it was observed live, 2026-10.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

PROMPT_PATH = "request.contents[].parts[].text"
EMBEDDED_PATH = "request.content.parts[].text"
_BOOLEANS = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n"})
_CONVERTED = re.compile(
    r"\s*(?:[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|0x[0-9a-f]+|nan|inf(?:inity)?)"
    r"|true|false|t|f|yes|no|y|n)\s*",
    re.IGNORECASE,
)
_NUMBER_FIELDS = re.compile(r"request\.generation_?config\.\w+", re.IGNORECASE)
_MAX_SHOWN = 40


class RowTexts(NamedTuple):
    """The texts of a row in fields that no earlier row keeps as text.

    ``plain`` has the paths of fields that this row keeps as text. ``converted`` has a
    text of every other field, by path.
    """

    plain: frozenset[str]
    converted: Mapping[str, str]


def is_boolean(text: str) -> bool:
    """Whether the importer could take a text for a boolean."""
    return text.lower() in _BOOLEANS


def is_converted(text: str) -> bool:
    """Whether the importer could turn a text into a number or a boolean."""
    return _CONVERTED.fullmatch(text) is not None


def describe_converted(path: str, text: str) -> str:
    """Return why a row with this text cannot be sent, and what to do."""
    shown = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return (
        f"{path} is the text {shown!r}, which Vertex's importer turns into a number or a "
        "boolean, because no other row has a text with a word there; "
        f"{_suggest_change(path)}"
    )


def _suggest_change(path: str) -> str:
    if path.endswith("parts[].text"):
        return "add a word to the prompt"
    if _NUMBER_FIELDS.fullmatch(path):
        return "write a number or boolean without quotes"
    return "change it to a text with a word"
