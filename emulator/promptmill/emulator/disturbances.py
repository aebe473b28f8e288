"""What the output faults do to a job's rows. Pure: rules and rows in, lines out."""

import hashlib
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from . import output
from .errors import RowRefused
from .faults import Rule

_ONE_BY_DEFAULT = frozenset({"missing", "duplicated", "unknown", "invalid"})
_BEFORE = frozenset({"error"})
_ANSWER = frozenset({"blocked", "finish", "no-candidates", "off-schema"})


class Script:
    """The output faults of one job of `size` rows: which row meets which."""

    def __init__(self, rules: list[Rule], size: int) -> None:
        self._rules = [rule for rule in rules if rule.on == "output"]
        self._sampled = [_sample(rule, size) for rule in self._rules]
        self._files = next((max(2, rule.count or 2) for rule in self._rules if rule.fault == "files"), 1)

    def has(self, fault: str) -> bool:
        """Whether the job meets a fault of that name."""
        return self.rule(fault) is not None

    def rule(self, fault: str) -> Rule | None:
        """The first rule of that name."""
        return next((rule for rule in self._rules if rule.fault == fault), None)

    @property
    def first_file(self) -> str:
        """The name of the first output file."""
        return self._file(0)

    def refuse(self, index: int, row: dict[str, Any]) -> None:
        """Raises RowRefused for a row that is to fail."""
        for rule in self._meets(index, row, _BEFORE):
            raise RowRefused(rule.code or 500, rule.message or "Emulated failure of this request.")

    def alter(self, index: int, row: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
        """The response after safety blocks, other finish reasons, lost candidates and answers that fit no schema."""
        for rule in self._meets(index, row, _ANSWER):
            response = _altered(rule, response)
        return response

    def lines(self, index: int, place: int, row: dict[str, Any], line: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
        """File names and lines that the output has for one row; `place` is its place in the order of the output."""
        met = {rule.fault: rule for rule in self._meets(index, row, frozenset({rule.fault for rule in self._rules}))}
        file = self._file(place)
        if "keyless" in met:
            line = {name: line[name] for name in ("status", "processed_time", "request", "response")}
        if "nulls" in met:
            line = line | {"request": _with_nulls(line["request"])}
        encoded = output.encode(line)
        if "unknown" in met:
            yield file, output.encode(_foreign(line, index))
        if "missing" not in met:
            yield file, encoded[: len(encoded) // 2] + b"\n" if "invalid" in met else encoded
        if (duplicated := met.get("duplicated")) is not None:
            yield (self._file(place) if duplicated.where == "same" else self._other()), encoded
        if "incremental" in met and place % 2 == 0:
            yield f"incremental_predictions/{output.FINAL_FILE}", encoded

    def _meets(self, index: int, row: dict[str, Any], faults: frozenset[str]) -> Iterator[Rule]:
        for rule, sampled in zip(self._rules, self._sampled, strict=True):
            if rule.fault in faults and _chosen(rule, sampled, index, row):
                yield rule

    def _file(self, place: int) -> str:
        return output.FINAL_FILE if self._files == 1 else f"predictions_{place % self._files + 1:04d}.jsonl"

    def _other(self) -> str:
        return f"predictions_{self._files + 1:04d}.jsonl"


def hashed_share(rule: Rule, key: str) -> float:
    """A number from 0 to 1 that only the key and the rule's seed decide."""
    digest = hashlib.blake2b(f"{rule.seed}/{rule.fault}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _sample(rule: Rule, size: int) -> frozenset[int] | None:
    rows_fault = rule.fault not in {"files", "late", "empty", "truncated", "incremental"}
    count = rule.count if rows_fault else None
    if count is None and rule.fault in _ONE_BY_DEFAULT and rule.share is None and not rule.keys:
        count = 1
    if count is None:
        return None
    random = Random(f"{rule.seed}/{rule.fault}")  # noqa: S311 - a repeatable choice, no secret
    return frozenset(random.sample(range(size), min(count, size)))


def _chosen(rule: Rule, sampled: frozenset[int] | None, index: int, row: dict[str, Any]) -> bool:
    if sampled is not None:
        return index in sampled
    if not rule.keys and rule.share is None:
        return True
    key = str(row.get("key", index))
    return key in rule.keys or (rule.share is not None and hashed_share(rule, key) < rule.share)


def _altered(rule: Rule, response: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in response.items() if name != "candidates"}
    if rule.fault == "no-candidates":
        return kept
    if rule.fault == "blocked":
        return kept | {"promptFeedback": {"blockReason": rule.reason or "PROHIBITED_CONTENT"}}
    if rule.fault == "off-schema":
        return kept | {"candidates": [_off_schema(candidate) for candidate in response["candidates"]]}
    reason = rule.reason or "SAFETY"
    return kept | {"candidates": [_finished(candidate, reason) for candidate in response["candidates"]]}


def _finished(candidate: dict[str, Any], reason: str) -> dict[str, Any]:
    """MAX_TOKENS keeps the first half of the text; a candidate that ends for any other reason has no content."""
    if reason != "MAX_TOKENS":
        return {name: value for name, value in candidate.items() if name != "content"} | {"finishReason": reason}
    text = candidate["content"]["parts"][0]["text"]
    half = {"role": "model", "parts": [{"text": text[: len(text) // 2]}]}
    return candidate | {"content": half, "finishReason": reason}


def _off_schema(candidate: dict[str, Any]) -> dict[str, Any]:
    """An answer in JSON with a value of another type in each place of its first level; any other stays as it is."""
    text = candidate["content"]["parts"][0]["text"]
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return candidate
    wrong = (
        {name: _other_type(one) for name, one in value.items()}
        if isinstance(value, dict) and value
        else _other_type(value)
    )
    return candidate | {"content": {"role": "model", "parts": [{"text": output.encode(wrong).decode().strip()}]}}


def _other_type(value: Any) -> Any:
    return 7 if isinstance(value, str) else "off schema"


def _foreign(line: dict[str, Any], index: int) -> dict[str, Any]:
    request = {"contents": [{"role": "user", "parts": [{"text": f"nobody asked this {index}"}]}]}
    return line | {"key": f"foreign-{index}", "request": request}


def _with_nulls(request: dict[str, Any]) -> dict[str, Any]:
    """As in Google's documentation, where an echoed part has `"fileData": null`."""
    contents = request.get("contents")
    if not isinstance(contents, list):
        return request
    return request | {"contents": [_content_with_nulls(content) for content in contents], "cachedContent": None}


def _content_with_nulls(content: Any) -> Any:
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
        return content
    parts = [{"fileData": None} | part if isinstance(part, dict) else part for part in content["parts"]]
    return content | {"parts": parts}
