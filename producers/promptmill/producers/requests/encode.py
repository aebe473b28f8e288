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
from promptmill.producers.pricing.tokens import Need
from promptmill.producers.requests import request_validation
from promptmill.producers.requests.field_types import Kinds
from promptmill.producers.requests.response_shape import Shape, UnfitSchema

MAX_KEY = 512
MAX_METADATA = 16 * 1024


class Refused(NamedTuple):
    """A row that is known not to be sendable: its ``key`` ("": its number; None: it has none that can be used), and why."""

    key: str | None
    refusal: str


Prompt = str | Mapping[str, Any] | Refused
"""A prompt, or a mapping with ``request`` (or ``prompt``), and if wanted ``key`` and ``metadata``; or why there is none."""

_encode = msgspec.json.Encoder().encode
_REQUEST = b',"request":'
"""Where the request begins: inside of a string these quotes would be escaped."""
_TEXT_HEAD = b'"request":{"contents":[{"role":"user","parts":[{"text":'


class Line(NamedTuple):
    """One encoded request: its ``row`` (from 1), its ``key``, the wire ``data``, why it is refused if it is, its tokens.

    ``is_copy``: the same request occurred before.
    """

    row: int
    key: str
    data: bytes
    refusal: str = ""
    need: Need = Need()
    is_copy: bool = False


class WireKey(NamedTuple):
    """What a wire key says: the run's tag, the row (from 1) and the caller's key."""

    tag: str
    row: int
    key: str


def wire_key(tag: str, row: int, key: str) -> str:
    """Join a wire key."""
    return f"{tag}-{row}-{key}"


def split_wire_key(text: str) -> WireKey | None:
    """Take a wire key apart; None when it is not one of ours."""
    tag, _, rest = text.partition("-")
    row, dash, key = rest.partition("-")
    if not (tag and dash and key and row.isascii() and row.isdigit() and len(row) < 16):
        return None
    return WireKey(tag, int(row), key)


def request_of(data: bytes) -> bytes:
    """Return what makes two wire lines ask the same: all but key and metadata."""
    return data[data.find(_REQUEST) :]


class Encoder:
    """Encodes the requests of one run, one by one; what it was told before decides what it may be told."""

    def __init__(self, run: str, max_bytes: int, schema: bytes = b"") -> None:
        self._tag, self._max_bytes, self._shape, self._kinds = names.tag(run), max_bytes, Shape(schema), Kinds()
        self._row = 0

    def encode(self, prompt: Prompt) -> Line:
        """Encode the next row; one that cannot be sent comes out as a refused line. Raises InvalidRequest for its key."""
        self._row += 1
        return _encode_line(self._tag, self._row, prompt, self._max_bytes, self._shape, self._kinds)


def encode_lines(
    run: str,
    prompts: Iterable[Prompt],
    max_bytes: int,
    schema: bytes = b"",
    on_unusable: Callable[[InvalidRequest], None] | None = None,
) -> Iterator[Line]:
    """Encode ``prompts`` one by one for ``run``; a row that cannot be sent comes out as a refused line.

    ``schema`` is the encoded ``responseSchema`` of every request, if there is one.

    Raises InvalidRequest only where not even a result could be written for the row: its key is unusable. With
    ``on_unusable``, that is told instead, and the row passed over.
    """
    encoder = Encoder(run, max_bytes, schema)
    for prompt in prompts:
        try:
            line = encoder.encode(prompt)
        except InvalidRequest as error:
            if on_unusable is None:
                raise
            on_unusable(error)
        else:
            yield line


def _encode_line(tag: str, row: int, prompt: Prompt, max_bytes: int, shape: Shape, kinds: Kinds) -> Line:
    request: object = None
    if isinstance(prompt, str):
        key, head = str(row), b'{"key":"%s-%d-%d",' % (tag.encode(), row, row)
        if not prompt.strip():
            return _refused(row, key, head, "the prompt is empty")
        try:
            text = _encode(prompt)
            data = head + _TEXT_HEAD + text + shape.after_text
            need = tokens.of_text(len(text) - 2, shape.size)
        except UnicodeEncodeError:
            return _refused(row, key, head, "the prompt holds half of a surrogate pair, which UTF-8 cannot carry")
    else:
        key, metadata, request, refusal = _take_apart(row, prompt)
        head = b'{"key":%s,' % _encode(wire_key(tag, row, key))
        try:
            head += _encode_metadata(metadata)
            if refusal := refusal or request_validation.check(request):
                return _refused(row, key, head, refusal)
            shaped = shape.of_request(request)
            body = _encode(shaped)
            data, need = head + b'"request":' + body + b"}\n", tokens.of_request(shaped, len(body))
        except (_Unfit, UnfitSchema) as unfit:
            return _refused(row, key, head, str(unfit))
        except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
            return _refused(row, key, head, f"the request is not JSON: {type(error).__name__}")
    if len(data) > max_bytes:
        return _refused(
            row, key, head, f"the request takes {len(data):,} bytes; PROMPTMILL_MAX_REQUEST_BYTES is {max_bytes:,}"
        )
    if request is not None and (refusal := kinds.admit(row, request)):
        return _refused(row, key, head, refusal)
    return Line(row, key, data, "", need)


class _Unfit(Exception):
    pass


def _refused(row: int, key: str, head: bytes, refusal: str) -> Line:
    return Line(row, key, head + b'"error":' + _encode(refusal) + b"}\n", refusal)


def _take_apart(row: int, prompt: object) -> tuple[str, object, object, str]:
    """Return key, metadata, request, and why the row is refused, if it is known to be."""
    if isinstance(prompt, Refused):
        if prompt.key is None:
            raise InvalidRequest(prompt.refusal, row=row)
        return _usable(row, prompt.key or str(row)), None, None, prompt.refusal
    if not isinstance(prompt, Mapping):
        raise InvalidRequest(f"a prompt is a string or a mapping, not {type(prompt).__name__}", row=row)
    key = prompt.get("key", str(row))
    key = _usable(row, text_of_key(key))
    if strange := prompt.keys() - {"key", "metadata", "request", "prompt"}:
        unknown = f"unknown field {min(strange, key=str)!r}; a row has key, metadata, and request or prompt"
        return key, prompt.get("metadata"), None, unknown
    request = prompt["request"] if "request" in prompt else _of_text(prompt.get("prompt"))
    return key, prompt.get("metadata"), request, ""


def _usable(row: int, key: object) -> str:
    if not is_key(key):
        raise InvalidRequest(f"a key is a string of 1 to {MAX_KEY} characters", row=row)
    return key


def text_of_key(key: object) -> object:
    """Return a number that is a key as the text that it is in results; anything else as it stands."""
    return str(key) if isinstance(key, int) and not isinstance(key, bool) else key


def is_key(key: object) -> TypeGuard[str]:
    """Whether this can be the key of a request."""
    return isinstance(key, str) and 0 < len(key) <= MAX_KEY and _is_utf8(key)


def _of_text(prompt: object) -> object:
    """Make a request of a prompt that is a string; ``lint`` refuses what is neither."""
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}]} if isinstance(prompt, str) else prompt


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
        raise _Unfit("metadata is a mapping of names to JSON values")
    data = _encode(dict(metadata))
    if len(data) > MAX_METADATA:
        raise _Unfit(f"metadata takes {len(data):,} bytes of {MAX_METADATA:,}")
    return b'"metadata":%s,' % _encode(data.decode())
