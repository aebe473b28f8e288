"""Makes results of the lines of one part of a job's output.

Output order is never trusted, nor that every line is there, there once, or one of ours: a row is known by the key that
Vertex echoes, and every line is counted as exactly one of answered, duplicate, unknown or unreadable.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from promptmill.config import names
from promptmill.producers.messages import Manifest
from promptmill.producers.requests import WireKey, split_wire_key
from promptmill.producers.results import Error, Result
from promptmill.workers import budget, facts, reasons
from promptmill.workers.billing import Meter
from promptmill.workers.correlate import request_hash
from promptmill.workers.facts import Counts, Parsed, PartRange, Parts, Plan
from promptmill.workers.ports import Bucket
from promptmill.workers.steps.shard import wanted_rows

_MARGIN = 256 * 1024
"""How much is read past the end of a range for the line that crosses it."""
_MAX_LINE = 64 << 20
_KEEP_OFFSETS = 1000


def parse(bucket: Bucket, run: str, index: int, attempt: int, part: int) -> Parsed:
    """Write the results of one part, then the fact of what was counted; the same bytes every time."""
    folder = names.shard(run, index, attempt)
    fact = names.parsed(run, index, attempt, part)
    if bucket.find(fact) is None:
        piece = facts.get(bucket, folder + "parts.json", Parts).parts[part]
        plan = facts.get(bucket, names.plan(run), Plan)
        rows = plan.shards[index]
        wanted = wanted_rows(bucket, run, index, attempt, rows)
        tokens = facts.get(bucket, names.manifest(run), Manifest).retry_max_tokens
        meter = Meter(plan.thresholds)
        reader = PartReader(names.tag(run), rows.first_row, rows.requests, attempt, wanted, tokens, meter)
        bucket.write(names.results(run, index, attempt, part), b"".join(reader.results(lines(bucket, piece))))
        if reader.unkeyed:
            bucket.write(names.unkeyed(run, index, attempt, part), b"".join(reader.unkeyed))
        facts.put(bucket, fact, reader.parsed())
    return facts.get(bucket, fact, Parsed)


def parts(bucket: Bucket, run: str, index: int, attempt: int) -> int:
    """Return how many parts the output of a job has."""
    return len(facts.get(bucket, names.shard(run, index, attempt) + "parts.json", Parts).parts)


def lines(bucket: Bucket, piece: PartRange) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) of the lines that start within ``piece``; the last of a file may lack its newline."""
    start = max(piece.start - 1, 0)
    data = bucket.read_range(piece.name, start, piece.end + _MARGIN, piece.generation)
    position = data.find(b"\n") + 1 if piece.start else 0
    if piece.start and not position:
        return
    while start + position < piece.end:
        newline = data.find(b"\n", position)
        if newline < 0:
            more = _rest_of_line(bucket, piece, start + len(data))
            data, start, position = data[position:] + more, start + position, 0
            newline = data.find(b"\n")
            newline = len(data) if newline < 0 else newline
        if line := data[position:newline]:
            yield start + position, line
        position = newline + 1


def _rest_of_line(bucket: Bucket, piece: PartRange, offset: int) -> bytes:
    """Return what is left of the line that ``offset`` lies in: up to the next newline, or the file's end."""
    found = bytearray()
    size = _MARGIN
    while len(found) < _MAX_LINE:
        more = bucket.read_range(piece.name, offset + len(found), offset + len(found) + size, piece.generation)
        found += more
        if b"\n" in more or len(more) < size:
            break
        size *= 2
    return bytes(found)


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
    def more_than_text(self) -> bool:
        special = (self.functionCall, self.inlineData, self.fileData, self.executableCode, self.codeExecutionResult)
        return any(value not in (b"", b"null") for value in map(bytes, special))


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


class _Line(msgspec.Struct):
    key: str | None = None
    metadata: str | None = None
    status: str | None = None
    response: _Response | None = None


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_line = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


class PartReader:
    """Reads the lines of one part; what it saw is in ``parsed`` when ``results`` is exhausted.

    Rows that were cut off with less than ``tokens`` are among those that a second try can mend. ``meter`` counts what is
    paid for.
    """

    def __init__(
        self,
        tag: str,
        first_row: int,
        requests: int,
        attempt: int,
        wanted: int,
        tokens: int = 0,
        meter: Meter | None = None,
    ) -> None:
        self._tag = tag
        self._first_row = first_row
        self._attempt = attempt
        self._tokens_again = tokens
        self._wanted = wanted.to_bytes((requests + 7) // 8, "little")
        self._passing = bytearray((requests + 7) // 8)
        self._cut_off = bytearray((requests + 7) // 8)
        self._succeeded = bytearray((requests + 7) // 8)
        self._failed = bytearray((requests + 7) // 8)
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._meter = meter or Meter()
        self._unreadable_at: list[int] = []
        self.unkeyed: list[bytes] = []

    def results(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
        """Yield each result as a line of JSON: at most one success and one failure for a row."""
        for offset, data in lines:
            line = _read(data)
            if line is None:
                self._counts["unreadable"] += 1
                if len(self._unreadable_at) < _KEEP_OFFSETS:
                    self._unreadable_at.append(offset)
            elif line.key is None:
                self.unkeyed.append(self._unkeyed_line(line, data))
            else:
                key = split_wire_key(line.key)
                if key is None or not self._is_ours(key):
                    self._counts["unknown"] += 1
                elif result := self._first(result_of(line, data, key, self._attempt), data):
                    yield _encode(result) + b"\n"

    def parsed(self) -> Parsed:
        """Return what was counted."""
        return Parsed(
            counts=Counts(
                succeeded=self._counts["succeeded"],
                failed=self._counts["failed"],
                failures=dict(sorted(self._failures.items())),
                tokens=self._meter.tokens,
                billed=self._meter.billed,
                duplicates=self._counts["duplicates"],
                unknown=self._counts["unknown"],
                unreadable=self._counts["unreadable"],
            ),
            succeeded=facts.pack(int.from_bytes(self._succeeded, "little")),
            failed=facts.pack(int.from_bytes(self._failed, "little")),
            passing=facts.pack(int.from_bytes(self._passing, "little")),
            unkeyed=len(self.unkeyed),
            unreadable_at=self._unreadable_at,
            at=facts.now(),
            cut_off=facts.pack(int.from_bytes(self._cut_off, "little")),
        )

    def _is_ours(self, key: WireKey) -> bool:
        byte, bit = divmod(key.row - self._first_row, 8)
        return key.tag == self._tag and 0 <= byte < len(self._wanted) and bool(self._wanted[byte] >> bit & 1)

    def _first(self, result: Result, data: bytes) -> Result | None:
        """Pass the first success and the first failure of a row; a failure after a success says nothing new."""
        byte, bit = divmod(result.row - self._first_row, 8)
        mask = 1 << bit
        seen = self._succeeded if result.succeeded else self._failed
        if self._succeeded[byte] & mask or seen[byte] & mask:
            self._counts["duplicates"] += 1
            return None
        seen[byte] |= mask
        cut_off = budget.may_mend(result, data, self._tokens_again)
        if cut_off or (result.error and result.error.reason in reasons.PASSING):
            self._passing[byte] |= mask
        if cut_off:
            self._cut_off[byte] |= mask
        count(result, self._counts, self._failures, self._meter)
        return result

    def _unkeyed_line(self, line: _Line, data: bytes) -> bytes:
        """A result without its key, and the hash of the request that Vertex echoed, by which it may yet be known."""
        result = result_of(line, data, WireKey("", 0, ""), self._attempt)
        cut_off = {"cut_off": True} if budget.may_mend(result, data, self._tokens_again) else {}
        return _encode({"hash": request_hash(data), "result": result} | cut_off) + b"\n"


def count(result: Result, states: Counter[str], failures: Counter[str], meter: Meter) -> None:
    """Count one result: its state, its failure's reason, its tokens."""
    states[result.state] += 1
    if result.error:
        failures[result.error.reason] += 1
    meter.add(result.usage)


def result_of(line: _Line, data: bytes, key: WireKey, attempt: int) -> Result:
    """Return the result that a line of output tells."""
    response = line.response or _Response()
    candidate = response.candidates[0] if response.candidates else None
    parts = (candidate.content and candidate.content.parts if candidate else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    special = any(part.text is None and part.more_than_text for part in parts)
    error = _error(line, response, candidate, bool(text) or special)
    return Result(
        key=key.key,
        row=key.row,
        state="failed" if error else "succeeded",
        text=text,
        finish_reason=(candidate and candidate.finishReason) or "",
        usage=response.usageMetadata or {},
        attempt=attempt,
        model_version=response.modelVersion or "",
        metadata=_metadata(line.metadata),
        content=_content(data) if special else None,
        error=error,
    )


def _error(line: _Line, response: _Response, candidate: _Candidate | None, answered: bool) -> Error | None:
    if line.status:
        return reasons.of_status(line.status)
    if candidate is None:
        blocked = response.promptFeedback and response.promptFeedback.blockReason
        return reasons.of_finish(blocked) if blocked else Error("EMPTY_RESPONSE", "the answer has no candidates")
    if candidate.finishReason not in (None, "", "STOP", "FINISH_REASON_UNSPECIFIED"):
        return reasons.of_finish(candidate.finishReason or "")
    return None if answered else Error("EMPTY_RESPONSE", "the answer has no text")


def _metadata(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except _UNREADABLE:
        return {"metadata": text}


def _content(data: bytes) -> dict[str, object]:
    try:
        line = msgspec.json.decode(data)
    except _UNREADABLE:
        line = msgspec.json.decode(_mend(data))
    content: dict[str, object] = line["response"]["candidates"][0]["content"]
    return content


def _read(data: bytes) -> _Line | None:
    """Read a line; one that only needs mending gets a second chance, as it was paid for."""
    try:
        return _decode_line(data)
    except _UNREADABLE:
        pass
    try:
        return _decode_line(_mend(data))
    except (*_UNREADABLE, ValueError):
        return None


def _mend(data: bytes) -> bytes:
    """Replace what JSON should not hold: half a surrogate pair, bad UTF-8, NaN. Raises ValueError, RecursionError."""
    lenient = json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _: None)
    return re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(lenient, ensure_ascii=False)).encode()
