"""Lines whose JSON lies in strings: a column of type JSON, extracted from BigQuery, may come as what it holds or as text.

Which of both is not documented for every way out of BigQuery, so both are understood.
"""

import msgspec

_TEXT_MARKS = (b'"response":"', b'"response": "', b'"request":"', b'"request": "')
_NESTED_FIELDS = ("request", "response")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def unnest_json(line: bytes) -> bytes:
    """Return a line of output with its request and response as objects; one that is no JSON as it is."""
    if not any(mark in line for mark in _TEXT_MARKS):
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
