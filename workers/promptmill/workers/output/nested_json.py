"""Decodes requests and responses that an export from BigQuery wrote as strings.

Google does not document for every kind of export whether a column of type JSON is
written as an object or as text. Both are accepted.
"""

import re

import msgspec

_MAY_BE_TEXT = re.compile(rb'"(?:response|request)": ?"').search
_NESTED_FIELDS = ("request", "response")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def unnest_json(line: bytes) -> bytes:
    """Return a line with its request and response as objects. Unchanged if it is not JSON."""
    if not _MAY_BE_TEXT(line):
        return line
    try:
        fields = _decode(line)
        for name in _NESTED_FIELDS:
            if bytes(fields.get(name, b"")).startswith(b'"'):
                text = msgspec.json.decode(fields[name], type=str).encode()
                msgspec.json.decode(text)
                fields[name] = msgspec.Raw(text)
        return _encode(fields)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return line
