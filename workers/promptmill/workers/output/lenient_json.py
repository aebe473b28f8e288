"""Decodes JSON that a strict decoder refuses, because its answers were paid for.

It accepts a byte order mark, invalid UTF-8, unpaired surrogates, control characters, NaN,
numbers out of range, and text after the value. Of a member that is given twice, the first
value that is not empty counts.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

_MAX_DIGITS = 18
_EMPTY: tuple[object, ...] = (None, "", [], {})
_BYTE_ORDER_MARK = "\ufeff"
_STRING = r'"((?:[^"\\]|\\.)*)"'
_UNREADABLE = (ValueError, RecursionError)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def decode_lenient(data: bytes) -> object:
    """Return the first value in ``data``. Raises ValueError or RecursionError if there is none."""
    text = _decode_text(data)
    try:
        value, _ = _decoder.raw_decode(text)
    except ValueError:
        value, _ = _decoder.raw_decode(text.replace("\0", "").lstrip())
    return value


def split_objects(data: bytes) -> list[bytes]:
    """Return the objects of a line that has several, one after another or in a list."""
    text, position, values = _decode_text(data), 0, list[object]()
    while position < len(text):
        try:
            value, position = _decoder.raw_decode(text, position)
        except _UNREADABLE:
            break
        values += value if isinstance(value, list) else [value]
        position = _skip_separators(text, position)
    return [encode_clean(value) for value in values if isinstance(value, dict)]


def _skip_separators(text: str, position: int) -> int:
    return len(text) - len(text[position:].lstrip(", \t\r\0" + _BYTE_ORDER_MARK))


def encode_clean(value: object) -> bytes:
    """Encode a lenient value as JSON that a strict decoder accepts."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", "\ufffd", text).encode()


def find_strings(data: bytes, name: str) -> Iterator[str]:
    """Yield the strings that members called ``name`` have in damaged JSON."""
    pattern = re.compile(rf'"{re.escape(name)}"\s*:\s*{_STRING}', re.DOTALL)
    for match in pattern.finditer(_decode_text(data)):
        try:
            yield str(json.loads(f'"{match[1]}"', strict=False))
        except _UNREADABLE:
            continue


def find_object(data: bytes, name: str) -> dict[str, object]:
    """Return the first complete object that a member called ``name`` has in damaged JSON.

    Returns an empty one if there is none.
    """
    text = _decode_text(data)
    for match in re.finditer(rf'"{re.escape(name)}"\s*:\s*(?=\{{)', text):
        try:
            value, _ = _decoder.raw_decode(text, match.end())
        except _UNREADABLE:
            continue
        return value if isinstance(value, dict) else {}
    return {}


def is_empty(value: object) -> bool:
    """Whether a value says nothing: null, or an empty string, list or object."""
    return value in _EMPTY


def decode_object(data: bytes) -> dict[str, Any]:
    """Decode an object, leniently if the strict decoder refuses it.

    Raises as ``decode_lenient``.
    """
    try:
        return _decode_object(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_object(encode_clean(decode_lenient(data)))


def _decode_text(data: bytes) -> str:
    return data.decode("utf-8", "replace").lstrip(_BYTE_ORDER_MARK + "\0 \t\r\n")


def _merge_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    merged: dict[str, object] = {}
    for name, value in pairs:
        if name not in merged or is_empty(merged[name]):
            merged[name] = value
    return merged


def _parse_float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _parse_int(digits: str) -> float | None:
    return int(digits) if len(digits) <= _MAX_DIGITS else _parse_float(digits)


def _parse_constant(_: str) -> None:
    return None


_decoder = json.JSONDecoder(
    object_pairs_hook=_merge_pairs,
    parse_float=_parse_float,
    parse_int=_parse_int,
    parse_constant=_parse_constant,
    strict=False,
)
