"""A request as the caller gives it, and the line of JSON that Vertex reads for it.

The wire line is ``{"key": …, "metadata": …, "request": {…}}``. Vertex echoes extra top-level fields beside the answer
(seen in the field, and how LangExtract correlates; not promised for generateContent), but its importer turns a numeric
looking string into a number, and gives a field one type over the whole file. So the wire key starts with a letter, and
metadata travels as a string of JSON. The wire key holds the run's tag, the row and the caller's key, and is all that is
needed to make a result of an answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

import msgspec

from promptmill.config import names
from promptmill.config.errors import InvalidRequest
from promptmill.producers.pricing import tokens
from promptmill.producers.pricing.tokens import RequestTokens
from promptmill.producers.requests import request_validation
from promptmill.producers.requests.field_types import FieldTypes
from promptmill.producers.requests.response_shape import ResponseShape, UnsupportedSchema

MAX_KEY_CHARS = 512
MAX_METADATA_BYTES = 16 * 1024


class RefusedRow(NamedTuple):
    """A row that is known not to be sendable: its ``key`` ("": its number; None: it has none that can be used), and why."""

    key: str | None
    refusal: str


Prompt = str | Mapping[str, Any] | RefusedRow
"""A prompt, or a mapping with ``request`` (or ``prompt``), and if wanted ``key`` and ``metadata``; or why there is none."""

_encode_json = msgspec.json.Encoder().encode
_REQUEST_FIELD = b',"request":'
"""Where the request begins: inside of a string these quotes would be escaped."""
_TEXT_PREFIX = b'"request":{"contents":[{"role":"user","parts":[{"text":'


class RequestLine(NamedTuple):
    """One encoded request: its ``row`` (from 1), its ``key``, the wire ``data``, why it is refused if it is, its tokens.

    ``is_repeat``: the same request occurred before.
    """

    row: int
    key: str
    data: bytes
    refusal: str = ""
    tokens: RequestTokens = RequestTokens()
    is_repeat: bool = False


class WireKey(NamedTuple):
    """What a wire key says: the run's tag, the row (from 1) and the caller's key."""

    tag: str
    row: int
    key: str


def join_wire_key(tag: str, row: int, key: str) -> str:
    """Join a wire key."""
    return f"{tag}-{row}-{key}"


def split_wire_key(text: str) -> WireKey | None:
    """Take a wire key apart; None when it is not one of ours."""
    tag, _, row_and_key = text.partition("-")
    row, separator, key = row_and_key.partition("-")
    if not (tag and separator and key and row.isascii() and row.isdigit() and len(row) < 16):
        return None
    return WireKey(tag, int(row), key)


def extract_request(data: bytes) -> bytes:
    """Return what makes two wire lines ask the same: all but key and metadata."""
    return data[data.find(_REQUEST_FIELD) :]


class RequestEncoder:
    """Encodes the requests of one run, one by one; what it was told before decides what it may be told."""

    def __init__(self, run: str, max_bytes: int, schema: bytes = b"") -> None:
        self._tag, self._max_bytes, self._response_shape, self._field_types = (
            names.tag(run),
            max_bytes,
            ResponseShape(schema),
            FieldTypes(),
        )
        self._row = 0

    def encode_row(self, prompt: Prompt) -> RequestLine:
        """Encode the next row; one that cannot be sent comes out as a refused line. Raises InvalidRequest for its key."""
        self._row += 1
        return _encode_line(
            self._tag, self._row, prompt, self._max_bytes, self._response_shape, self._field_types
        )


def encode_lines(
    run: str,
    prompts: Iterable[Prompt],
    max_bytes: int,
    schema: bytes = b"",
    on_invalid_key: Callable[[InvalidRequest], None] | None = None,
) -> Iterator[RequestLine]:
    """Encode ``prompts`` one by one for ``run``; a row that cannot be sent comes out as a refused line.

    ``schema`` is the encoded ``responseSchema`` of every request, if there is one.

    Raises InvalidRequest only where not even a result could be written for the row: its key is unusable. With
    ``on_invalid_key``, that is told instead, and the row passed over.
    """
    encoder = RequestEncoder(run, max_bytes, schema)
    for prompt in prompts:
        try:
            line = encoder.encode_row(prompt)
        except InvalidRequest as error:
            if on_invalid_key is None:
                raise
            on_invalid_key(error)
        else:
            yield line


def _encode_line(
    tag: str,
    row: int,
    prompt: Prompt,
    max_bytes: int,
    response_shape: ResponseShape,
    field_types: FieldTypes,
) -> RequestLine:
    request: object = None
    if isinstance(prompt, str):
        key, prefix = str(row), b'{"key":"%s-%d-%d",' % (tag.encode(), row, row)
        if not prompt.strip():
            return _refused_line(row, key, prefix, "the prompt is empty")
        try:
            text = _encode_json(prompt)
            data = prefix + _TEXT_PREFIX + text + response_shape.text_suffix
            request_tokens = tokens.count_text_tokens(len(text) - 2, response_shape.schema_bytes)
        except UnicodeEncodeError:
            return _refused_line(
                row,
                key,
                prefix,
                "the prompt holds half of a surrogate pair, which UTF-8 cannot carry",
            )
    else:
        key, metadata, request, refusal = _split_prompt(row, prompt)
        prefix = b'{"key":%s,' % _encode_json(join_wire_key(tag, row, key))
        try:
            prefix += _encode_metadata(metadata)
            if refusal := refusal or request_validation.check_request(request):
                return _refused_line(row, key, prefix, refusal)
            shaped = response_shape.prepare_request(request)
            body = _encode_json(shaped)
            data, request_tokens = (
                prefix + b'"request":' + body + b"}\n",
                tokens.count_request_tokens(shaped, len(body)),
            )
        except (_InvalidMetadata, UnsupportedSchema) as invalid:
            return _refused_line(row, key, prefix, str(invalid))
        except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
            return _refused_line(
                row, key, prefix, f"the request is not JSON: {type(error).__name__}"
            )
    if len(data) > max_bytes:
        return _refused_line(
            row,
            key,
            prefix,
            f"the request takes {len(data):,} bytes; PROMPTMILL_MAX_REQUEST_BYTES is {max_bytes:,}",
        )
    if request is not None and (refusal := field_types.admit_request(row, request)):
        return _refused_line(row, key, prefix, refusal)
    return RequestLine(row, key, data, "", request_tokens)


class _InvalidMetadata(Exception):
    pass


def _refused_line(row: int, key: str, prefix: bytes, refusal: str) -> RequestLine:
    return RequestLine(row, key, prefix + b'"error":' + _encode_json(refusal) + b"}\n", refusal)


def _split_prompt(row: int, prompt: object) -> tuple[str, object, object, str]:
    """Return key, metadata, request, and why the row is refused, if it is known to be."""
    if isinstance(prompt, RefusedRow):
        if prompt.key is None:
            raise InvalidRequest(prompt.refusal, row=row)
        return _check_key(row, prompt.key or str(row)), None, None, prompt.refusal
    if not isinstance(prompt, Mapping):
        raise InvalidRequest(
            f"a prompt is a string or a mapping, not {type(prompt).__name__}", row=row
        )
    key = prompt.get("key", str(row))
    key = _check_key(row, stringify_key(key))
    if unknown_fields := prompt.keys() - {"key", "metadata", "request", "prompt"}:
        reason = f"unknown field {min(unknown_fields, key=str)!r}; a row has key, metadata, and request or prompt"
        return key, prompt.get("metadata"), None, reason
    request = prompt["request"] if "request" in prompt else _request_from_text(prompt.get("prompt"))
    return key, prompt.get("metadata"), request, ""


def _check_key(row: int, key: object) -> str:
    if not is_valid_key(key):
        raise InvalidRequest(f"a key is a string of 1 to {MAX_KEY_CHARS} characters", row=row)
    return key


def stringify_key(key: object) -> object:
    """Return a number that is a key as the text that it is in results; anything else as it stands."""
    return str(key) if isinstance(key, int) and not isinstance(key, bool) else key


def is_valid_key(key: object) -> TypeGuard[str]:
    """Whether this can be the key of a request."""
    return isinstance(key, str) and 0 < len(key) <= MAX_KEY_CHARS and _is_utf8(key)


def _request_from_text(prompt: object) -> object:
    """Make a request of a prompt that is a string; ``lint`` refuses what is neither."""
    return (
        {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
        if isinstance(prompt, str)
        else prompt
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _encode_metadata(metadata: object) -> bytes:
    if metadata is None:
        return b""
    if not isinstance(metadata, Mapping):
        raise _InvalidMetadata("metadata is a mapping of names to JSON values")
    data = _encode_json(dict(metadata))
    if len(data) > MAX_METADATA_BYTES:
        raise _InvalidMetadata(f"metadata takes {len(data):,} bytes of {MAX_METADATA_BYTES:,}")
    return b'"metadata":%s,' % _encode_json(data.decode())
