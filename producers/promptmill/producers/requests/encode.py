"""Encodes a request as the line of JSON that Vertex reads.

The wire line is ``{"key": …, "metadata": …, "request": {…}}``. Vertex returns extra
top-level fields with the answer. This was observed, and LangExtract relies on it, but
Google does not document it for generateContent.

The importer turns numeric strings into numbers, and gives each field one type in the
whole file. So the wire key starts with a letter, and metadata is a string of JSON. Rows
whose texts it would convert wait for a row that prevents it; see ``held_lines``. The
wire key holds the tag of the run, the row and the caller's key. They identify the
request of an answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import msgspec

from promptmill.config import names
from promptmill.config.errors import InvalidRequest
from promptmill.producers.pricing.thinking import ThoughtCounter
from promptmill.producers.requests import request_validation
from promptmill.producers.requests.embedding_requests import EmbeddingForm
from promptmill.producers.requests.field_types import FieldTypes
from promptmill.producers.requests.held_lines import HeldLines
from promptmill.producers.requests.model_checks import ModelChecks
from promptmill.producers.requests.repeated_fields import normalize_request
from promptmill.producers.requests.request_line import REQUEST_FIELD, RequestLine, refuse_row
from promptmill.producers.requests.response_shape import ResponseShape, UnsupportedSchema

MAX_KEY_CHARS = 512
MAX_METADATA_BYTES = 16 * 1024


class RefusedRow(NamedTuple):
    """A row that cannot be sent, and the reason.

    An empty ``key`` means the row number. None means that the key is unusable.
    """

    key: str | None
    refusal: str


Prompt = str | Mapping[str, object] | RefusedRow
"""A prompt: text, a mapping, or a row that cannot be sent.

A mapping has ``request`` or ``prompt``, and optionally ``key`` and ``metadata``. In the
form of Google's sample file, ``id`` is the key.
"""

_encode_json = msgspec.json.Encoder().encode


class WireKey(NamedTuple):
    """The parts of a wire key: the tag of the run, the row from 1, the caller's key."""

    tag: str
    row: int
    key: str


def join_wire_key(tag: str, row: int, key: str) -> str:
    """Return the wire key of these parts."""
    return f"{tag}-{row}-{key}"


def split_wire_key(text: str) -> WireKey | None:
    """Split a wire key; return None for a foreign one."""
    tag, _, row_and_key = text.partition("-")
    row, separator, key = row_and_key.partition("-")
    if not (tag and separator and key and row.isascii() and row.isdigit() and len(row) < 16):
        return None
    return WireKey(tag, int(row), key)


def extract_request(data: bytes) -> bytes:
    """Return the request of a wire line. Equal requests make equal bytes."""
    return data[data.find(REQUEST_FIELD) :]


class RequestEncoder:
    """Encodes the requests of one run. Each field keeps the type of its first row.

    ``form`` is that of embedding requests; None for GenerateContentRequest. ``held`` has
    the lines that wait for later rows; see ``add_prompt``.
    """

    def __init__(
        self,
        run: str,
        max_bytes: int,
        schema: bytes = b"",
        checks: ModelChecks | None = None,
        form: EmbeddingForm | None = None,
    ) -> None:
        self._tag, self._max_bytes = names.tag(run), max_bytes
        self._form: _RequestForm = form or ResponseShape(schema)
        self._field_types, checks = FieldTypes(), checks or ModelChecks()
        self._check_request = form.check_request if form else _join_checks(checks)
        self._thoughts = checks.thoughts
        self.held = HeldLines(self._field_types.plain_paths)
        self._row = 0

    def add_prompt(self, prompt: Prompt) -> Sequence[RequestLine]:
        """Encode the next row; return the lines that can be sent now, in order.

        Raises InvalidRequest for an unusable key.
        """
        line = self.encode_row(prompt)
        if line.texts is None and not self.held.lines:
            return (line,)
        return self.held.add_line(line)

    def encode_row(self, prompt: Prompt) -> RequestLine:
        """Encode the next row. An invalid row becomes a refused line.

        Later rows decide whether a line with ``texts`` can be sent; see ``add_prompt``.
        Raises InvalidRequest for an unusable key.
        """
        self._row += 1
        return _encode_line(
            self._tag,
            self._row,
            prompt,
            self._max_bytes,
            self._form,
            self._field_types,
            self._check_request,
            self._thoughts,
        )


_RequestForm = ResponseShape | EmbeddingForm
"""What makes and completes the requests of a run."""


def _join_checks(model_checks: ModelChecks) -> Callable[[object], str]:
    """Return the check of any request, then by the rules of the model."""

    def check_request(request: Any) -> str:
        return request_validation.check_request(request) or model_checks.check_request(request)

    return check_request


def encode_lines(
    run: str,
    prompts: Iterable[Prompt],
    max_bytes: int,
    schema: bytes = b"",
    on_invalid_key: Callable[[InvalidRequest], None] | None = None,
    model_checks: ModelChecks | None = None,
    form: EmbeddingForm | None = None,
) -> Iterator[RequestLine]:
    """Encode ``prompts`` one at a time. An invalid row becomes a refused line.

    ``schema`` is the encoded ``responseSchema`` of every request, or empty. A row with
    an unusable key cannot even have a result: it raises InvalidRequest. With
    ``on_invalid_key`` the error is passed to that function, and the row is skipped.
    ``model_checks`` applies the rules of the model. ``form`` is that of embedding requests.
    """
    encoder = RequestEncoder(run, max_bytes, schema, model_checks, form)
    held = encoder.held
    try:
        for prompt in prompts:
            try:
                line = encoder.encode_row(prompt)
            except InvalidRequest as error:
                if on_invalid_key is None:
                    raise
                on_invalid_key(error)
            else:
                if line.texts is None and not held.lines:  # as add_prompt, which takes longer
                    yield line
                else:
                    yield from held.add_line(line)
    except InvalidRequest:
        yield from held.release_lines()
        raise
    yield from held.release_lines()


def _encode_line(
    tag: str,
    row: int,
    prompt: Prompt,
    max_bytes: int,
    form: _RequestForm,
    field_types: FieldTypes,
    check_request: Callable[[object], str],
    thoughts: ThoughtCounter,
) -> RequestLine:
    request: Any = None
    if isinstance(prompt, str):
        key, prefix = str(row), b'{"key":"%s-%d-%d",' % (tag.encode(), row, row)
        if not prompt.strip():
            return refuse_row(row, key, prefix, "the prompt is empty")
        try:
            text = _encode_json(prompt)
            data = prefix + form.text_prefix + text + form.text_suffix
            request_tokens = form.count_text_tokens(len(text) - 2, thoughts)
        except UnicodeEncodeError:
            return refuse_row(
                row,
                key,
                prefix,
                "the prompt has half of a surrogate pair, which UTF-8 cannot encode",
            )
    else:
        key, metadata, request, refusal = _split_prompt(row, prompt, form)
        prefix = b'{"key":%s,' % _encode_json(join_wire_key(tag, row, key))
        try:
            prefix += _encode_metadata(metadata)
            request = normalize_request(request)
            if refusal := refusal or check_request(request):
                return refuse_row(row, key, prefix, refusal)
            request = form.prepare_request(request)
            body = _encode_json(request)
            data, request_tokens = (
                prefix + b'"request":' + body + b"}\n",
                form.count_tokens(request, len(body), thoughts),
            )
        except (_InvalidMetadata, UnsupportedSchema) as invalid:
            return refuse_row(row, key, prefix, str(invalid))
        except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
            return refuse_row(row, key, prefix, f"the request is not JSON: {type(error).__name__}")
    if len(data) > max_bytes:
        return refuse_row(
            row,
            key,
            prefix,
            f"the request takes {len(data):,} bytes; PROMPTMILL_MAX_REQUEST_BYTES is {max_bytes:,}",
        )
    line = RequestLine(row, key, data, "", request_tokens)
    if request is not None:
        return _admit_request(line, request, field_types)
    if form.text_path in field_types.plain_paths:
        return line
    return line._replace(texts=field_types.admit_text(form.text_path, str(prompt)))


def _admit_request(line: RequestLine, request: object, field_types: FieldTypes) -> RequestLine:
    refusal, texts = field_types.admit_request(line.row, request)
    if refusal:
        return line.refuse_request(refusal)
    return line._replace(texts=texts) if texts else line


class _InvalidMetadata(Exception):
    pass


def _split_prompt(row: int, prompt: object, form: _RequestForm) -> tuple[str, object, Any, str]:
    """Return key, metadata, request, and the reason if the row is invalid."""
    if isinstance(prompt, RefusedRow):
        if prompt.key is None:
            raise InvalidRequest(prompt.refusal, row=row)
        return _check_key(row, prompt.key or str(row)), None, None, prompt.refusal
    if not isinstance(prompt, Mapping):
        raise InvalidRequest(
            f"a prompt must be a string or a mapping, not {type(prompt).__name__}", row=row
        )
    key = prompt.get("key", prompt.get("id", str(row)))
    key = _check_key(row, stringify_key(key))
    if unknown_fields := prompt.keys() - {"key", "id", "metadata", "request", "prompt"}:
        unknown = min(unknown_fields, key=str)
        refusal = f"unknown field {unknown!r}; use key, metadata, and request or prompt"
        return key, prompt.get("metadata"), None, refusal
    request = _read_request(prompt, form)
    return key, prompt.get("metadata"), request, ""


def _check_key(row: int, key: object) -> str:
    if not is_valid_key(key):
        raise InvalidRequest(f"a key must be a string of 1 to {MAX_KEY_CHARS} characters", row=row)
    return key


def stringify_key(key: object) -> object:
    """Return an integer key as text, and any other key unchanged."""
    return str(key) if isinstance(key, int) and not isinstance(key, bool) else key


def is_valid_key(key: object) -> TypeGuard[str]:
    """Whether ``key`` can be the key of a request."""
    return isinstance(key, str) and 0 < len(key) <= MAX_KEY_CHARS and _is_utf8(key)


def _read_request(prompt: Mapping[str, object], form: _RequestForm) -> object:
    """Return the request of a prompt. The validation refuses anything but text and mappings."""
    if "request" in prompt:
        return prompt["request"]
    text = prompt.get("prompt")
    return form.request_from_text(text) if isinstance(text, str) else text


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
        raise _InvalidMetadata("metadata must be a mapping of names to JSON values")
    data = _encode_json(dict(metadata))
    if len(data) > MAX_METADATA_BYTES:
        raise _InvalidMetadata(
            f"metadata takes {len(data):,} bytes; the maximum is {MAX_METADATA_BYTES:,}"
        )
    return b'"metadata":%s,' % _encode_json(data.decode())
