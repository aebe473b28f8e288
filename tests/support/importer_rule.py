"""What is known of Vertex's importer, written without a look at Promptmill or its emulator.

It loads a file like BigQuery: one type per field over the whole file. Texts of a field
that are all numbers or booleans are converted (observed live, 2026-10). Here a field is
also converted if its texts are numbers and booleans mixed, which is not known.
"""

import re
from collections.abc import Iterator
from typing import Any

_NUMBER = re.compile(
    r"[-+]?(\d+|\d+\.\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII
)
_BOOLEANS = ["true", "false", "t", "f", "yes", "no", "y", "n"]


class ImportFailure(Exception):
    """The whole file is refused."""


def import_lines(lines: list[Any]) -> list[Any]:
    """Return the lines as Google's next step sees them; raises ImportFailure."""
    kinds: dict[str, set[str]] = {}
    texts: dict[str, list[str]] = {}
    for line in lines:
        for path, value in _walk(line, "", 1):
            kinds.setdefault(path, set()).add(_kind(value))
            if isinstance(value, str):
                texts.setdefault(path, []).append(value)
    for path, found in kinds.items():
        if len(found - {"null"}) > 1:
            raise ImportFailure(f"{path} is {found}")
    converted = {path for path, values in texts.items() if _all_convert(values)}
    return [_convert(line, "", converted) for line in lines]


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _all_convert(texts: list[str]) -> bool:
    """Whether all texts convert, and some are not blank: what becomes of those is not known."""
    return any(map(str.strip, texts)) and all(not t.strip() or _converts(t) for t in texts)


def _converts(text: str) -> bool:
    bare = text.strip()
    return bool(_NUMBER.fullmatch(bare)) or bare.lower() in _BOOLEANS


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, dict):
        if not value or depth > 16:
            raise ImportFailure(f"{path} is empty or too deep")
        for name, item in value.items():
            if name.lower() in _BOOLEANS or not re.fullmatch(r"[A-Za-z_]\w{0,299}", name, re.ASCII):
                raise ImportFailure(f"{path} has the name {name}")
            yield from _walk(item, f"{path}.{name}", depth + 1)
    if isinstance(value, list):
        for item in value:
            if item is None or isinstance(item, list):
                raise ImportFailure(f"{path} has a list or null inside")
            yield from _walk(item, path + "[]", depth)


def _convert(value: Any, path: str, converted: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _convert(item, f"{path}.{name}", converted) for name, item in value.items()}
    if isinstance(value, list):
        return [_convert(item, path + "[]", converted) for item in value]
    return ("converted", value) if isinstance(value, str) and path in converted else value
