"""Turns one line of a job's output into a result, even if the line is malformed."""

import json
import re

import msgspec

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.results import Error, Result
from promptmill.producers.requests.encode import WireKey
from promptmill.workers.output import failure_reasons

_ABSENT = msgspec.Raw()


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


class _PromptFeedback(msgspec.Struct):
    blockReason: str | None = None  # noqa: N815


class _Response(msgspec.Struct):
    candidates: list[_Candidate] | None = None
    promptFeedback: _PromptFeedback | None = None  # noqa: N815
    modelVersion: str | None = None  # noqa: N815
    usageMetadata: dict[str, object] | None = None  # noqa: N815


class OutputLine(msgspec.Struct):
    """The fields of an output line that Promptmill reads."""

    key: str | None = None
    metadata: str | None = None
    status: str | None = None
    response: _Response | None = None


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_line = msgspec.json.Decoder(OutputLine).decode


def parse_line(data: bytes) -> OutputLine | None:
    """Parse a line of output. Returns None if it is not JSON and cannot be repaired.

    Repair is worth a try because the answer was paid for.
    """
    try:
        return _decode_line(data)
    except _UNREADABLE:
        pass
    try:
        return _decode_line(_repair_json(data))
    except (*_UNREADABLE, ValueError):
        return None


def build_result(line: OutputLine, data: bytes, key: WireKey, attempt: int) -> Result:
    """Return the result for ``line``, which was parsed from ``data``."""
    response = line.response or _Response()
    candidate = response.candidates[0] if response.candidates else None
    parts = (candidate.content and candidate.content.parts if candidate else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    has_other_content = any(part.text is None and part.has_other_content for part in parts)
    error = _find_error(line, response, candidate, bool(text) or has_other_content)
    return Result(
        key=key.key,
        row=key.row,
        state="failed" if error else "succeeded",
        text=text,
        finish_reason=(candidate and candidate.finishReason) or "",
        usage=response.usageMetadata or {},
        attempt=attempt,
        model_version=response.modelVersion or "",
        metadata=_decode_metadata(line.metadata),
        content=_decode_content(data) if has_other_content else None,
        error=error,
    )


def _find_error(
    line: OutputLine, response: _Response, candidate: _Candidate | None, has_answer: bool
) -> Error | None:
    if line.status:
        return failure_reasons.error_from_status(line.status)
    if candidate is None:
        block_reason = response.promptFeedback and response.promptFeedback.blockReason
        if block_reason:
            return failure_reasons.error_from_finish(block_reason)
        return Error(FailureReason.EMPTY_RESPONSE, "the answer has no candidates")
    if candidate.finishReason not in (None, "", "STOP", "FINISH_REASON_UNSPECIFIED"):
        return failure_reasons.error_from_finish(candidate.finishReason or "")
    return None if has_answer else Error(FailureReason.EMPTY_RESPONSE, "the answer has no text")


def _decode_metadata(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except _UNREADABLE:
        return {"metadata": text}


def _decode_content(data: bytes) -> dict[str, object]:
    try:
        line = msgspec.json.decode(data)
    except _UNREADABLE:
        line = msgspec.json.decode(_repair_json(data))
    content: dict[str, object] = line["response"]["candidates"][0]["content"]
    return content


def _repair_json(data: bytes) -> bytes:
    """Replace invalid UTF-8, unpaired surrogates and NaN.

    Raises ValueError or RecursionError if the line is still not JSON.
    """
    lenient = json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _: None)
    return re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(lenient, ensure_ascii=False)).encode()
