"""Turns one line of a job's output into a result, even if the line is malformed."""

from collections.abc import Iterator

import msgspec

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.results import Error, Result
from promptmill.producers.requests.encode import WireKey, split_wire_key
from promptmill.workers.output import failure_reasons
from promptmill.workers.output.embedding import find_token_count, find_vector_problem
from promptmill.workers.output.lenient_json import (
    decode_lenient,
    decode_object,
    encode_clean,
    find_object,
    find_strings,
    split_objects,
)
from promptmill.workers.output.nested_json import unnest_json
from promptmill.workers.output.odd_lines import COMPLETE, clean_line, find_usage
from promptmill.workers.output.part_selection import PAID_FIELDS

_ABSENT = msgspec.Raw()
_SUCCESS = frozenset({"", "OK", "200", "200 OK", "SUCCESS", "SUCCEEDED"})
"""Texts of a status that report no failure. Google writes an empty one."""
_EMPTY_VALUES = (b"", b"null", b"{}", b"[]")


class _Part(msgspec.Struct):
    text: str | None = None
    thought: bool | None = None
    functionCall: msgspec.Raw = _ABSENT  # noqa: N815
    inlineData: msgspec.Raw = _ABSENT  # noqa: N815
    fileData: msgspec.Raw = _ABSENT  # noqa: N815
    executableCode: msgspec.Raw = _ABSENT  # noqa: N815
    codeExecutionResult: msgspec.Raw = _ABSENT  # noqa: N815

    @property
    def has_other_content(self) -> bool:
        other_fields = (
            self.functionCall,
            self.inlineData,
            self.fileData,
            self.executableCode,
            self.codeExecutionResult,
        )
        return any(value not in (b"", b"null") for value in map(bytes, other_fields))


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct):
    content: _Content | None = None
    finishReason: str | None = None  # noqa: N815
    citationMetadata: msgspec.Raw = _ABSENT  # noqa: N815
    groundingMetadata: msgspec.Raw = _ABSENT  # noqa: N815
    logprobsResult: msgspec.Raw = _ABSENT  # noqa: N815
    urlContextMetadata: msgspec.Raw = _ABSENT  # noqa: N815

    @property
    def has_extras(self) -> bool:
        """Whether it has any of the members that ``PAID_FIELDS`` names."""
        return not (
            self.groundingMetadata is _ABSENT
            and self.citationMetadata is _ABSENT
            and self.logprobsResult is _ABSENT
            and self.urlContextMetadata is _ABSENT
        )


class _PromptFeedback(msgspec.Struct):
    blockReason: str | None = None  # noqa: N815


class _Embedding(msgspec.Struct):
    values: msgspec.Raw = _ABSENT


class _Response(msgspec.Struct):
    candidates: list[_Candidate] | None = None
    promptFeedback: _PromptFeedback | None = None  # noqa: N815
    modelVersion: str | None = None  # noqa: N815
    usageMetadata: dict[str, object] | None = None  # noqa: N815
    embedding: _Embedding | None = None
    tokenCount: str | int | None = None  # noqa: N815


class OutputLine(msgspec.Struct):
    """The fields of an output line that Promptmill reads."""

    key: str | None = None
    metadata: str | None = None
    status: str | None = None
    response: _Response | None = None
    request: msgspec.Raw = _ABSENT


class OddLine(OutputLine):
    """A line that was not in the documented form.

    ``data`` is the line in that form. ``problem`` is the place that is not readable, or "".
    """

    data: bytes = b""
    problem: str = ""


_UNREADABLE = (ValueError, UnicodeDecodeError, RecursionError)
_decode_line = msgspec.json.Decoder(OutputLine).decode
_decode_fields = msgspec.json.Decoder(OddLine).decode


def parse_line(data: bytes) -> OutputLine | None:
    """Parse a line of output. Returns None if it is unreadable and names no row.

    A line that is not in the documented form is an ``OddLine``. Reading it is worth a try
    because the answer was paid for.
    """
    try:
        line = _decode_line(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_odd_line(data)
    is_wrapped = line.key is None and (line.response is None or line.request is _ABSENT)
    return (_read_odd_line(data) if is_wrapped else None) or line


def parse_objects(raw: bytes) -> Iterator[tuple[OutputLine | None, bytes]]:
    """Yield the objects of one line of output, each parsed and as bytes in the documented form.

    It is one object in the documented form; of several, each is read as a line.
    """
    line, data = _parse_object(raw)
    if type(line) is not OutputLine and len(objects := split_objects(raw)) > 1:
        yield from map(_parse_object, objects)
    else:
        yield line, data


def _parse_object(raw: bytes) -> tuple[OutputLine | None, bytes]:
    data = unnest_json(raw)
    line = parse_line(data)
    return line, line.data if type(line) is OddLine else data


def build_result(line: OutputLine, data: bytes, key: WireKey, attempt: int) -> Result:
    """Return the result for ``line``, which was parsed from ``data``."""
    response = line.response or _Response()
    if response.embedding and not (line.status or response.candidates):
        return _build_embedding(line, response, response.embedding, data, key, attempt)
    candidate = response.candidates[0] if response.candidates else None
    parts = (candidate.content and candidate.content.parts if candidate else None) or []
    text, has_other_content = _read_parts(parts)
    error = _find_error(line, response, candidate, bool(text) or has_other_content)
    usage = response.usageMetadata or _find_other_usage(response, data)
    if error and error.reason == FailureReason.EMPTY_RESPONSE and type(line) is OutputLine:
        odd_line = _read_odd_line(data)
        if odd_line:
            return build_result(odd_line, odd_line.data, key, attempt)
    return Result(
        key=key.key,
        row=key.row,
        state="failed" if error else "succeeded",
        text=text,
        finish_reason=(candidate and candidate.finishReason) or "",
        usage=usage,
        attempt=attempt,
        model_version=response.modelVersion or "",
        metadata=None if line.metadata is None else _decode_metadata(line.metadata),
        content=_decode_content(data) if has_other_content else None,
        error=error,
    )


def _read_parts(parts: list[_Part]) -> tuple[str, bool]:
    """Return the text without thoughts, and whether there is content of another kind."""
    if len(parts) == 1 and (text := parts[0].text) and not parts[0].thought:
        return text, False  # most answers; the rest is slower
    text = "".join(part.text for part in parts if part.text and not part.thought)
    return text, any(not part.text and part.has_other_content for part in parts)


def list_paid_parts(line: OutputLine) -> list[str]:
    """Return the parts of an answer that a result has no field for; see ``contract.kept_parts``."""
    candidates = line.response.candidates if line.response else None
    if not candidates:
        return []
    candidate = candidates[0]
    paid_parts = [*_list_extras(candidate)] if candidate.has_extras else []
    if len(candidates) > 1:
        paid_parts.append("candidates")
    for part in (candidate.content.parts if candidate.content else None) or ():
        if part.thought and part.text:
            return [*paid_parts, "thoughts"]
    return paid_parts


def _list_extras(candidate: _Candidate) -> Iterator[str]:
    for name, part in PAID_FIELDS.items():
        value: msgspec.Raw = getattr(candidate, name)
        if bytes(value) not in _EMPTY_VALUES:
            yield part


def _build_embedding(
    line: OutputLine,
    response: _Response,
    embedding: _Embedding,
    data: bytes,
    key: WireKey,
    attempt: int,
) -> Result:
    """Return the result of an embedding. The bytes of its vector are not decoded."""
    values = embedding.values
    problem = line.problem if isinstance(line, OddLine) else ""
    problem = problem or find_vector_problem(bytes(values), bytes(line.request))
    return Result(
        key=key.key,
        row=key.row,
        state="failed" if problem else "succeeded",
        usage=response.usageMetadata or _token_usage(response, data),
        attempt=attempt,
        model_version=response.modelVersion or "",
        metadata=None if line.metadata is None else _decode_metadata(line.metadata),
        embedding=None if problem else values,  # type: ignore[arg-type]  # encoded unchanged
        error=Error(FailureReason.UNREADABLE_RESPONSE, problem) if problem else None,
    )


def read_usage(data: bytes) -> dict[str, object]:
    """Return the usageMetadata of a line that names no row, or an empty object."""
    try:
        return find_usage(decode_lenient(data))
    except _UNREADABLE:
        return find_object(data, "usageMetadata")


def _find_error(
    line: OutputLine, response: _Response, candidate: _Candidate | None, has_answer: bool
) -> Error | None:
    if line.status:
        is_success = has_answer and line.status.strip().upper() in _SUCCESS
        if not is_success:
            return failure_reasons.error_from_status(line.status)
    if isinstance(line, OddLine) and line.problem:
        return Error(FailureReason.UNREADABLE_RESPONSE, line.problem)
    if candidate is None:
        return None if has_answer else _error_without_candidates(response)
    if candidate.finishReason not in COMPLETE:
        return failure_reasons.error_from_finish(candidate.finishReason or "")
    return None if has_answer else Error(FailureReason.EMPTY_RESPONSE, "the answer has no text")


def _error_without_candidates(response: _Response) -> Error:
    block_reason = response.promptFeedback and response.promptFeedback.blockReason
    if block_reason:
        return failure_reasons.error_from_finish(block_reason)
    return Error(FailureReason.EMPTY_RESPONSE, "the answer has no candidates")


def _find_other_usage(response: _Response, data: bytes) -> dict[str, object]:
    """Return the usage of a line that has none in its response, wherever it is."""
    if response.tokenCount:
        return _token_usage(response, data)
    return read_usage(data) if b"usageMetadata" in data else {}


def _token_usage(response: _Response, data: bytes) -> dict[str, object]:
    """Return the tokens of an embedding, which has a ``tokenCount`` in place of usageMetadata."""
    count = find_token_count({"tokenCount": response.tokenCount})
    count = count or find_token_count(decode_object(data).get("response"))
    return {"promptTokenCount": count, "totalTokenCount": count} if count else {}


def _decode_metadata(text: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {"metadata": text}


def _decode_content(data: bytes) -> dict[str, object]:
    content: dict[str, object] = decode_object(data)["response"]["candidates"][0]["content"]
    return content


def _read_odd_line(data: bytes) -> OddLine | None:
    """Read a line that has not the documented form, or None if it names no row."""
    try:
        value = decode_lenient(unnest_json(encode_clean(decode_lenient(data))))
        clean = clean_line(value)
        if clean is None:
            return None
        line = _decode_fields(encode_clean(clean.fields))
        line.data, line.problem = encode_clean(clean.whole), clean.problem
    except _UNREADABLE as error:
        return _read_damaged_line(data, error)
    return line


def _read_damaged_line(data: bytes, error: Exception) -> OddLine | None:
    """Read the key and the usage of a line that is not JSON, if it names exactly one row."""
    keys = {key for key in find_strings(data, "key") if split_wire_key(key)}
    if len(keys) != 1:
        return None
    is_nested = isinstance(error, RecursionError)
    problem = "the line is nested too deeply" if is_nested else f"the line is not JSON: {error}"
    usage = _Response(usageMetadata=find_object(data, "usageMetadata"))
    return OddLine(keys.pop(), response=usage, data=b"{}", problem=problem)
