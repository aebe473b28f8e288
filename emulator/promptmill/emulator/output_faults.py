"""Applies output faults to the rows of a job. Pure: rules and rows in, lines out."""

import hashlib
from collections.abc import Iterator, Set
from random import Random

import msgspec

from . import output
from .errors import RowRefused
from .faults import FaultRule
from .json_types import JsonObject
from .request_fields import has_file_data

_ONE_ROW_BY_DEFAULT = frozenset({"missing", "duplicated", "unknown", "invalid"})
_OWN_FIELDS = frozenset({"status", "processed_time", "request", "response"})
_REQUEST_FAULTS = frozenset({"error", "provisioning"})
_PROVISIONING_MESSAGE = (
    "Service agents are being provisioned "
    "(https://cloud.google.com/vertex-ai/docs/general/access-control#service-agents). "
    "Service agents are needed to read the Cloud Storage file provided. "
    "So please try again in a few minutes."
)
"""Observed live, 2024-10, on every row of a new project's first job with media."""
_RESPONSE_FAULTS = frozenset({"blocked", "finish", "no-candidates", "off-schema"})


class OutputFaults:
    """The output faults of one job with `row_count` rows."""

    def __init__(self, rules: list[FaultRule], row_count: int) -> None:
        self._rules = [rule for rule in rules if rule.on == "output"]
        self._sampled_rows = [_sample_rows(rule, row_count) for rule in self._rules]
        file_counts = (max(2, rule.count or 2) for rule in self._rules if rule.fault == "files")
        self._file_count = next(file_counts, 1)

    def has_fault(self, fault: str) -> bool:
        """Return whether the job has this fault."""
        return self.find_rule(fault) is not None

    def find_rule(self, fault: str) -> FaultRule | None:
        """Return the first rule for this fault."""
        return next((rule for rule in self._rules if rule.fault == fault), None)

    @property
    def first_file_name(self) -> str:
        """The name of the first output file."""
        return self._file_name(0)

    def raise_for_row(self, row_index: int, row: JsonObject) -> None:
        """Raise RowRefused if a rule makes this row fail."""
        for rule in self._matching_rules(row_index, row, _REQUEST_FAULTS):
            if rule.fault == "error":
                message = rule.message or "Emulated failure of this request."
                raise RowRefused(rule.code or 500, message, rule.reason)
            if has_file_data(row["request"]):
                raise RowRefused(400, _PROVISIONING_MESSAGE, "FAILED_PRECONDITION")

    def alter_response(self, row_index: int, row: JsonObject, response: JsonObject) -> JsonObject:
        """Return the response as changed by the rules that match the row."""
        for rule in self._matching_rules(row_index, row, _RESPONSE_FAULTS):
            response = _alter_response(rule, response)
        return response

    def output_lines(
        self, row_index: int, output_position: int, row: JsonObject, line: JsonObject
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the file names and lines that the output has for one row.

        `output_position` is the index of the row in output order.
        """
        faults = frozenset(rule.fault for rule in self._rules)
        rules_by_fault = {rule.fault: rule for rule in self._matching_rules(row_index, row, faults)}
        file_name = self._file_name(output_position)
        line = _alter_line(line, rules_by_fault.keys())
        raw_line = _fill_raw_line(rules_by_fault.get("raw"), row_index, line)
        encoded = raw_line or output.encode_line(line)
        if "unknown" in rules_by_fault:
            yield file_name, output.encode_line(_make_foreign_line(line, row_index))
        if "missing" not in rules_by_fault:
            is_cut = "invalid" in rules_by_fault
            yield file_name, encoded[: len(encoded) // 2] + b"\n" if is_cut else encoded
        if (duplicate_rule := rules_by_fault.get("duplicated")) is not None:
            same_file = duplicate_rule.where == "same"
            yield (file_name if same_file else self._extra_file_name()), encoded
        if "incremental" in rules_by_fault and output_position % 2 == 0:
            yield f"incremental_predictions/{output.FINAL_FILE}", encoded

    def _matching_rules(
        self, row_index: int, row: JsonObject, faults: frozenset[str]
    ) -> Iterator[FaultRule]:
        for rule, sampled_rows in zip(self._rules, self._sampled_rows, strict=True):
            if rule.fault in faults and _is_chosen(rule, sampled_rows, row_index, row):
                yield rule

    def _file_name(self, output_position: int) -> str:
        if self._file_count == 1:
            return output.FINAL_FILE
        return f"predictions_{output_position % self._file_count + 1:04d}.jsonl"

    def _extra_file_name(self) -> str:
        return f"predictions_{self._file_count + 1:04d}.jsonl"


def _alter_line(line: JsonObject, faults: Set[str]) -> JsonObject:
    if "keyless" in faults:
        line = {name: value for name, value in line.items() if name in _OWN_FIELDS}
    return line | {"request": _add_nulls(line["request"])} if "nulls" in faults else line


def hash_to_share(rule: FaultRule, key: str) -> float:
    """Return a number from 0 to 1, derived from the key and the rule's seed."""
    digest = hashlib.blake2b(f"{rule.seed}/{rule.fault}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _sample_rows(rule: FaultRule, row_count: int) -> frozenset[int] | None:
    is_row_fault = rule.fault not in {"files", "late", "empty", "truncated", "incremental"}
    count = rule.count if is_row_fault else None
    if count is None and rule.fault in _ONE_ROW_BY_DEFAULT and rule.share is None and not rule.keys:
        count = 1
    if count is None:
        return None
    random = Random(f"{rule.seed}/{rule.fault}")  # noqa: S311 - a repeatable choice, no secret
    return frozenset(random.sample(range(row_count), min(count, row_count)))


def _is_chosen(
    rule: FaultRule, sampled_rows: frozenset[int] | None, row_index: int, row: JsonObject
) -> bool:
    if sampled_rows is not None:
        return row_index in sampled_rows
    if not rule.keys and rule.share is None:
        return True
    key = str(row.get("key", row_index))
    return key in rule.keys or (rule.share is not None and hash_to_share(rule, key) < rule.share)


def _alter_response(rule: FaultRule, response: JsonObject) -> JsonObject:
    altered = {name: value for name, value in response.items() if name != "candidates"}
    if rule.fault == "blocked":
        altered["promptFeedback"] = {"blockReason": rule.reason or "PROHIBITED_CONTENT"}
    elif rule.fault != "no-candidates":
        altered["candidates"] = [
            _alter_candidate(rule, candidate) for candidate in response["candidates"]
        ]
    return altered


def _alter_candidate(rule: FaultRule, candidate: JsonObject) -> JsonObject:
    if rule.fault == "off-schema":
        return _break_schema(candidate)
    return _set_finish_reason(candidate, rule.reason or "SAFETY")


def _set_finish_reason(candidate: JsonObject, reason: str) -> JsonObject:
    """Keep half of the text for MAX_TOKENS, and no content for other reasons."""
    if reason != "MAX_TOKENS":
        return {name: value for name, value in candidate.items() if name != "content"} | {
            "finishReason": reason
        }
    text = _answer_text(candidate)
    first_half = {"role": "model", "parts": [{"text": text[: len(text) // 2]}]}
    return candidate | {"content": first_half, "finishReason": reason}


def _answer_text(candidate: JsonObject) -> str:
    """Return the text, which follows the thoughts, or "" if those left no room for it."""
    parts = candidate["content"].get("parts") or [{"text": ""}]
    return str(parts[-1]["text"])


def _break_schema(candidate: JsonObject) -> JsonObject:
    """Replace every top-level value of a JSON answer by one of another type."""
    text = _answer_text(candidate)
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return candidate
    wrong_text = output.encode_line(_change_types(value)).decode().strip()
    return candidate | {"content": {"role": "model", "parts": [{"text": wrong_text}]}}


def _change_types(value: object) -> object:
    if isinstance(value, dict) and value:
        return {name: _change_type(property_value) for name, property_value in value.items()}
    return _change_type(value)


def _change_type(value: object) -> object:
    return 7 if isinstance(value, str) else "off schema"


def _make_foreign_line(line: JsonObject, row_index: int) -> JsonObject:
    request = {
        "contents": [{"role": "user", "parts": [{"text": f"an unknown request {row_index}"}]}]
    }
    return line | {"key": f"foreign-{row_index}", "request": request}


def _fill_raw_line(rule: FaultRule | None, row_index: int, line: JsonObject) -> bytes:
    """Return the raw line of a row with its key and request filled in, or b"" without one."""
    if rule is None or row_index >= len(rule.lines):
        return b""
    text = rule.lines[row_index]
    for mark, value in (("$KEY", line.get("key")), ("$REQUEST", line["request"])):
        text = text.replace(mark, msgspec.json.encode(value).decode())
    return text.encode() + b"\n"


def _add_nulls(request: JsonObject) -> JsonObject:
    """Add nulls as in Google's documentation: `"fileData": null` in echoed parts."""
    contents = request.get("contents")
    if not isinstance(contents, list):
        return request
    return request | {
        "contents": [_add_nulls_to_content(content) for content in contents],
        "cachedContent": None,
    }


def _add_nulls_to_content(content: object) -> object:
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
        return content
    return content | {"parts": [_add_null_file(part) for part in content["parts"]]}


def _add_null_file(part: object) -> object:
    return {"fileData": None} | part if isinstance(part, dict) else part
