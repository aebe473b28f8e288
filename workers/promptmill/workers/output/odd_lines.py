"""Brings an output line with members of unexpected types into Google's documented form.

What loses nothing is done: an object becomes a list of one, and an optional member of
another type is left out. Of anything else, the place is named, such as
``response.candidates[0].finishReason``. Then the row fails with UNREADABLE_RESPONSE.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

from promptmill.producers.requests.encode import split_wire_key
from promptmill.workers.output.lenient_json import encode_clean, is_empty
from promptmill.workers.output.part_selection import PAID_FIELDS

_LINE_FIELDS = frozenset({"key", "metadata", "request", "status", "response", "processed_time"})
_RESPONSE_FIELDS = frozenset(
    {
        "candidates",
        "promptFeedback",
        "usageMetadata",
        "modelVersion",
        "responseId",
        "createTime",
        "modelStatus",
        "tokenCount",
        "embedding",
        "finishReason",
        "groundingMetadata",
    }
)
_CANDIDATE_FIELDS = frozenset(
    {
        "content",
        "finishReason",
        "finishMessage",
        "index",
        "score",
        "tokenCount",
        "avgLogprobs",
        "logprobsResult",
        "safetyRatings",
        "citationMetadata",
        "groundingMetadata",
        "urlContextMetadata",
    }
)
_CONTENT_FIELDS = frozenset({"role", "parts"})
_PART_FIELDS = frozenset({"text", "thought", "thoughtSignature", "videoMetadata"})
"""Members of the objects that the documentation of GenerateContentResponse describes."""
COMPLETE = (None, "", "STOP", "FINISH_REASON_UNSPECIFIED")
"""The finish reasons of an answer that is not cut off or blocked."""
_OWN = frozenset({"request", "metadata"})
"""Members that Google repeats from the input."""
_MAX_DEPTH = 8
_TYPE_NAMES = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
    type(None): "null",
}
Json = dict[str, object]


def describe_type(value: object) -> str:
    """Return the JSON type of a value, with its article."""
    return _TYPE_NAMES.get(type(value), "of another type")


class CleanLine(NamedTuple):
    """A line in the documented form, and the first problem that it had, or "".

    ``fields`` has the members that Promptmill reads. ``whole`` is the whole line.
    """

    fields: Json
    whole: Json
    problem: str


def clean_line(value: object) -> CleanLine | None:
    """Return a line in the documented form. None if it has neither a key nor a request."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return None
    key = _find_key(value)
    if key is None and is_empty(value.get("request")):
        return None
    return _LineCleaner(value).clean_line(key)


def find_usage(value: object, depth: int = 0) -> Json:
    """Return the usageMetadata of a line's response, else that nearest to the line's root."""
    members = sorted(_iterate_members(value), key=lambda member: member[0] != "response")
    for name, member in members:
        usage = member[0] if isinstance(member, list) and len(member) == 1 else member
        if name == "usageMetadata" and isinstance(usage, dict):
            return usage
    if depth > _MAX_DEPTH:
        return {}
    nested = (find_usage(member, depth + 1) for name, member in members if name not in _OWN)
    return next(filter(None, nested), {})


def _iterate_members(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from (("", item) for item in value)


def _find_key(line: Json) -> str | None:
    """Return the key of a line: the member ``key``, else the only wire key at another place."""
    if isinstance(key := line.get("key"), str):
        return key
    keys = set(_nested_keys(line, 0))
    return keys.pop() if len(keys) == 1 else None


def _nested_keys(value: object, depth: int) -> Iterator[str]:
    for name, member in _iterate_members(value):
        if name == "key" and isinstance(member, str) and split_wire_key(member):
            yield member
        elif name not in {"request", "response"} and depth <= _MAX_DEPTH:
            yield from _nested_keys(member, depth + 1)


class _LineCleaner:
    """Cleans one line. ``_problem`` is the first problem."""

    def __init__(self, line: Json) -> None:
        self._line = line
        self._problem = ""

    def clean_line(self, key: str | None) -> CleanLine:
        response = self._clean_response()
        fields: Json = {
            "key": key,
            "metadata": _clean_metadata(self._line.get("metadata")),
            "status": self._clean_status(has_answer=bool(response.get("candidates"))),
            "response": response,
            "request": self._line.get("request"),
        }
        if not (self._problem or fields["status"]):
            self._find_misplaced(response)
        return CleanLine(fields, self._line, self._problem)

    def _note_problem(self, place: str, value: object, expected: str) -> None:
        self._problem = self._problem or f"{place} is {describe_type(value)}, not {expected}"

    def _clean_status(self, *, has_answer: bool) -> str:
        """Return the status as text, in Google's form ``PHRASE: {"error": …}`` if it is an object.

        An ``error`` in place of an answer counts as status. A status of success beside an
        answer, such as ``{"code": 0}``, counts as empty.
        """
        for name in ("status",) if has_answer else ("status", "error"):
            value = self._line.get(name)
            if isinstance(value, str) and name == "status":
                if value:
                    return value
            elif error := _find_error(value):
                return "Error: " + encode_clean({"error": error}).decode()
            elif value and not (is_empty(value) or (has_answer and _is_ok(value))):
                self._note_problem(name, value, "an error of Google" if value else "")
        return ""

    def _clean_response(self) -> Json:
        response = self._line.get("response")
        usage = find_usage(self._line)
        if response is None or not isinstance(response, dict):
            if not is_empty(response):
                self._note_problem("response", response, "an object")
            return {"usageMetadata": usage}
        candidates = self._clean_candidates(response)
        version, embedding = response.get("modelVersion"), response.get("embedding")
        return {
            "candidates": candidates,
            "promptFeedback": self._clean_feedback(response, has_answer=bool(candidates)),
            "modelVersion": version if isinstance(version, str) else None,
            "usageMetadata": usage,
            "embedding": None if candidates else self._clean_embedding(embedding),
            "tokenCount": _clean_count(response.get("tokenCount")),
        }

    def _clean_embedding(self, embedding: object) -> Json | None:
        if embedding is None:
            return None
        place, values = "response.embedding", embedding
        if isinstance(embedding, dict):
            place, values = "response.embedding.values", embedding.get("values")
        if isinstance(values, list):
            return {"values": values}
        self._note_problem(place, values, "a list of numbers")
        return None

    def _clean_feedback(self, response: Json, *, has_answer: bool) -> Json | None:
        feedback = response.get("promptFeedback")
        if has_answer or is_empty(feedback):
            return None
        reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
        if not isinstance(feedback, dict):
            self._note_problem("response.promptFeedback", feedback, "an object")
        elif not isinstance(reason, str | None):
            self._note_problem("response.promptFeedback.blockReason", reason, "a string")
        return {"blockReason": reason} if isinstance(reason, str) else None

    def _clean_candidates(self, response: Json) -> list[Json]:
        candidates = self._clean_list("response.candidates", response, "candidates")
        others: list[Json] = [{} for _ in candidates[1:]]
        return [self._clean_candidate(candidates[0]), *others] if candidates else []

    def _clean_list(self, place: str, owner: Json, name: str) -> list[object]:
        """Return the list that a member has, without nulls. An object becomes a list of one."""
        value = owner.get(name)
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list | None):
            self._note_problem(place, value, "a list")
        listed = cast("list[object]", value) if isinstance(value, list) else []
        items = [item for item in listed if item is not None]
        if items or name in owner:
            owner[name] = items
        return items

    def _clean_candidate(self, candidate: object) -> Json:
        place = "response.candidates[0]"
        if not isinstance(candidate, dict):
            self._note_problem(place, candidate, "an object")
            return {}
        finish_reason = candidate.get("finishReason")
        content = self._clean_content(f"{place}.content", candidate.get("content"))
        if not isinstance(finish_reason, str | None):
            self._note_problem(f"{place}.finishReason", finish_reason, "a string")
            finish_reason = None
        paid = {name: candidate[name] for name in PAID_FIELDS if name in candidate}
        return {"content": content, "finishReason": finish_reason} | paid

    def _clean_content(self, place: str, content: object) -> Json | None:
        if content is None:
            return None
        if not isinstance(content, dict):
            self._note_problem(place, content, "an object")
            return None
        parts = self._clean_list(f"{place}.parts", content, "parts")
        clean = (
            self._clean_part(f"{place}.parts[{number}]", part) for number, part in enumerate(parts)
        )
        return {"parts": list(clean)}

    def _clean_part(self, place: str, part: object) -> Json:
        if not isinstance(part, dict):
            self._note_problem(place, part, "an object")
            return {}
        clean: Json = {}
        for name, kind, expected in (("text", str, "a string"), ("thought", bool, "a boolean")):
            if isinstance(value := part.get(name), kind):
                clean[name] = value
            elif value is not None:
                self._note_problem(f"{place}.{name}", value, expected)
        if _unknown_members(part, _PART_FIELDS):
            clean["functionCall"] = True  # any kind of content but text
        return clean

    def _find_misplaced(self, response: Json) -> None:
        """Note a member that the documentation does not name, in a line without an answer."""
        candidates = response.get("candidates")
        if response.get("embedding") or response.get("promptFeedback"):
            return
        if isinstance(candidates, list) and candidates:
            self._find_misplaced_content(candidates[0])
        else:
            self._note_unknown("", self._line, _LINE_FIELDS)
            self._note_unknown("response.", self._line.get("response"), _RESPONSE_FIELDS)

    def _find_misplaced_content(self, candidate: Json) -> None:
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        if candidate.get("finishReason") in COMPLETE and not any(parts or ()):
            place, original = "response.candidates[0].", _first_candidate(self._line)
            self._note_unknown(place, original, _CANDIDATE_FIELDS)
            self._note_unknown(f"{place}content.", original.get("content"), _CONTENT_FIELDS)

    def _note_unknown(self, place: str, owner: object, known: frozenset[str]) -> None:
        for name in _unknown_members(owner, known):
            self._problem = self._problem or (
                f"there is no answer where Google documents it, but there is {place}{name[:100]}"
            )


def _first_candidate(line: Json) -> Json:
    response = line["response"]
    assert isinstance(response, dict)  # noqa: S101
    candidate = response["candidates"][0]
    return candidate if isinstance(candidate, dict) else {}


def _unknown_members(owner: object, known: frozenset[str]) -> list[str]:
    if not isinstance(owner, Mapping):
        return []
    return [name for name, value in owner.items() if name not in known and not is_empty(value)]


def _find_error(value: object) -> Json | None:
    """Return an error of Google's form, or None. It has a code, or a status in words."""
    if not isinstance(value, dict):
        return None
    error = value.get("error") if isinstance(value.get("error"), dict) else value
    assert isinstance(error, dict)  # noqa: S101
    code = _clean_count(error.get("code"))
    status, message = error.get("status"), error.get("message")
    if not (code or isinstance(status, str)):
        return None
    return {
        "code": int(code or 0),
        "status": status if isinstance(status, str) else "",
        "message": message if isinstance(message, str) else "",
    }


def _is_ok(value: object) -> bool:
    """Whether a status that is not text reports success: code 0 of RPCs, or 200 of HTTP."""
    code = value.get("code", "") if isinstance(value, dict) else value
    return not isinstance(code, bool) and _clean_count(code) in {0, 200}


def _clean_metadata(value: object) -> str | None:
    """Return metadata as the text that was sent. Anything but text is encoded."""
    if value is None or isinstance(value, str):
        return value
    return encode_clean(value if isinstance(value, dict) else {"metadata": value}).decode()


def _clean_count(value: object) -> int | None:
    """Return a count, which JSON may hold as a number or as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 18:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
