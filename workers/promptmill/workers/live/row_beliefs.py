"""Beliefs about output lines: keys, errors, usage, models, and what the importer converts."""

from typing import Any

from promptmill.config.json_types import JsonObject
from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.workers.live import answers, rows
from promptmill.workers.live.answers import find_answers, prompt_of, read_path
from promptmill.workers.live.evidence import Evidence
from promptmill.workers.live.verdict import Verdict, undecided
from promptmill.workers.output import failure_reasons

_NO_OUTPUT = "the output has no such row"
_TOKEN_COUNTS = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
)


def judge_rows(evidence: Evidence) -> Verdict:
    """The output has exactly one line for each row."""
    if evidence.files is None:
        return undecided("no output was read")
    found, sent = find_answers(evidence), answers.list_sent_rows(evidence)
    missing = [name for name in sent if name not in found.by_row]
    if missing or found.repeated or found.foreign:
        return Verdict(
            False,
            f"missing: {', '.join(missing) or 'none'}; "
            f"repeated: {', '.join(found.repeated) or 'none'}; unknown lines: {found.foreign}",
        )
    return Verdict(True, f"{len(sent)} rows, {len(sent)} lines, in the order {_order(evidence)}")


def judge_key_on_success(evidence: Evidence) -> Verdict:
    """An answered row has the key that was sent."""
    return _judge_echo(find_answers(evidence).answered, "key")


def judge_key_on_failure(evidence: Evidence) -> Verdict:
    """A refused row has the key that was sent."""
    return _judge_echo(find_answers(evidence).refused, "key")


def judge_metadata(evidence: Evidence) -> Verdict:
    """A row has the metadata that was sent, as text."""
    return _judge_echo(find_answers(evidence).by_row, "metadata")


def _judge_echo(lines: dict[str, JsonObject], field: str) -> Verdict:
    if not lines:
        return undecided(_NO_OUTPUT)
    for name, line in lines.items():
        sent = rows.wire_key(name) if field == "key" else rows.METADATA
        if line.get(field) != sent:
            return Verdict(False, f"row {name}: sent {sent!r}, got {line.get(field)!r}")
    return Verdict(True, f"unchanged in {len(lines)} lines")


def judge_status(evidence: Evidence) -> Verdict:
    """The status of a refused row has a code, a message and a reason that we know."""
    refused = find_answers(evidence).refused
    for name, line in refused.items():
        error = failure_reasons.error_from_status(str(line["status"]))
        if error.reason == FailureReason.UNKNOWN or "error" in error.message[:40]:
            return Verdict(False, f"row {name}: {str(line['status'])[:200]}")
    if not refused:
        return undecided("no row was refused")
    reasons = [
        failure_reasons.error_from_status(str(line["status"])).reason for line in refused.values()
    ]
    return Verdict(True, f"{len(refused)} rows: {', '.join(sorted(set(reasons)))}")


def judge_usage(evidence: Evidence) -> Verdict:
    """Every answer has token counts, and they add up to the total."""
    answered = find_answers(evidence).answered
    for name, line in answered.items():
        usage = _usage_of(line)
        total = sum(_count(usage, kind) for kind in _TOKEN_COUNTS)
        if not _count(usage, "promptTokenCount") or _count(usage, "totalTokenCount") != total:
            return Verdict(False, f"row {name}: {usage or 'no usageMetadata'}")
    if not answered:
        return undecided(_NO_OUTPUT)
    return Verdict(True, f"the counts of {len(answered)} answers add up")


def judge_thinking(evidence: Evidence) -> Verdict:
    """Tokens of thoughts count against maxOutputTokens."""
    line = find_answers(evidence).answered.get(rows.THINKING)
    usage, limit = _usage_of(line or {}), rows.MAX_OUTPUT_TOKENS
    thoughts, text = _count(usage, "thoughtsTokenCount"), _count(usage, "candidatesTokenCount")
    if not thoughts:
        return undecided(_NO_OUTPUT if line is None else "the model reported no thoughts")
    message = f"{thoughts} of thoughts and {text} of text; maxOutputTokens was {limit}"
    finish_reason = read_path(line, "response", "candidates", 0, "finishReason")
    if thoughts + text <= limit and finish_reason != FailureReason.MAX_TOKENS:
        return undecided(f"the answer ended before the limit: {message}")
    return Verdict(thoughts + text <= limit, message)


def judge_model(evidence: Evidence) -> Verdict:
    """The model that was asked for answers."""
    found = {
        str(read_path(line, "response", "modelVersion"))
        for line in find_answers(evidence).answered.values()
    }
    if not found:
        return undecided(_NO_OUTPUT)
    model = evidence.model.rpartition("/")[2]
    is_same = all(name == model or name.startswith(f"{model}-") for name in found)
    return Verdict(is_same, f"asked for {model}, answered by {', '.join(sorted(found))}")


def judge_role(evidence: Evidence) -> Verdict:
    """A row whose turn has an unknown role is refused alone."""
    return _judge_refusal(evidence, rows.ROLE)


def judge_enum(evidence: Evidence) -> Verdict:
    """The importer turns an enum of numeric text into numbers, so the row is refused."""
    path = ("request", "generationConfig", "responseSchema", "enum", 0)
    return _judge_refusal(evidence, rows.ENUM, *path)


def judge_property(evidence: Evidence) -> Verdict:
    """The importer turns the required property y into a boolean, so the row is refused."""
    path = ("request", "generationConfig", "responseSchema", "required", 0)
    return _judge_refusal(evidence, rows.PROPERTY, *path)


def _judge_refusal(evidence: Evidence, name: str, *path: str | int) -> Verdict:
    """Decide whether a row was refused, or came back with another type at ``path``."""
    line = find_answers(evidence).by_row.get(name)
    if line is None:
        return undecided(_NO_OUTPUT)
    echo = read_path(line, *path) if path else None
    note = "" if not path else f"; echoed as {echo!r}"
    if status := line.get("status"):
        return Verdict(True, f"refused: {str(status)[:120]}{note}")
    is_converted = echo is not None and not isinstance(echo, str)
    return Verdict(is_converted, f"answered{note}")


def judge_number(evidence: Evidence) -> Verdict:
    """A prompt of digits stays text, as other prompts of the file are text."""
    line = find_answers(evidence).by_row.get(rows.NUMBER)
    if line is None:
        return undecided(_NO_OUTPUT)
    text = prompt_of(line)
    is_kept = text == "42" and not line.get("status")
    return Verdict(is_kept, f'sent "42", echoed {text!r}{_describe_status(line)}')


def judge_object(evidence: Evidence) -> Verdict:
    """A single object is accepted where the request has a list of parts."""
    line = find_answers(evidence).by_row.get(rows.OBJECT)
    if line is None:
        return undecided(_NO_OUTPUT)
    return Verdict(not line.get("status"), f"parts as one object{_describe_status(line)}")


def judge_float(evidence: Evidence) -> Verdict:
    """A number comes back equal, whether as 1.0 or as 1."""
    line = find_answers(evidence).by_row.get(rows.PLAIN)
    echo: Any = read_path(line, "request", "generationConfig", "temperature")
    if line is None:
        return undecided(_NO_OUTPUT)
    is_number = isinstance(echo, int | float) and not isinstance(echo, bool)
    return Verdict(is_number and echo == 1, f"sent 1.0, echoed {echo!r}")


def judge_search(evidence: Evidence) -> Verdict:
    """Grounding with Google Search works if the tool is not an empty object."""
    line = find_answers(evidence).by_row.get(rows.SEARCH)
    if line is None:
        return undecided(_NO_OUTPUT)
    grounding = read_path(line, "response", "candidates", 0, "groundingMetadata")
    message = "groundingMetadata came back" if grounding else "no groundingMetadata"
    return Verdict(bool(grounding), f"{message}{_describe_status(line)}")


def _describe_status(line: JsonObject) -> str:
    status = str(line.get("status") or "")
    return f"; refused: {status[:120]}" if status else ""


def _usage_of(line: JsonObject) -> JsonObject:
    usage = read_path(line, "response", "usageMetadata")
    return usage if isinstance(usage, dict) else {}


def _count(usage: JsonObject, name: str) -> int:
    value = usage.get(name, 0)
    return value if isinstance(value, int) else -1


def _order(evidence: Evidence) -> str:
    """Return the order of the output as numbers of input rows; Google promises none."""
    sent = answers.list_sent_rows(evidence)
    return " ".join(str(sent.index(name) + 1) for name in find_answers(evidence).by_row)
