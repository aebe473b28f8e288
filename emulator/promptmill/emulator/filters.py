"""The filter language of list calls: the part of AIP-160 that Vertex AI documents.

filter     = sequence {"AND" sequence}        OR binds tighter than AND (AIP-160)
sequence   = factor {"OR" factor}
factor     = ["NOT"] ("(" filter ")" | field comparator value | "labels" ":" key)
comparator = "=" | "!=" | ":" | "<" | "<=" | ">" | ">="
"""

import re
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase

from .errors import ApiError
from .jobs import STATES, Job, state_at

Predicate = Callable[[Job, float], bool]
"""Whether a job matches at a given time."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
        |(?P<sign><=|>=|!=|[=:<>()])
        |(?P<time>\d{4}-\d{2}-\d{2}T[^\s"'()]*)
        |(?P<word>[^\s"'()=:<>!]+))""",
    re.VERBOSE,
)
_MAX_LENGTH = 5000
_MAX_DEPTH = 40


def parse_filter(text: str) -> Predicate:
    """Return the predicate of a filter; an empty filter matches every job.

    Raises ApiError 400 for an invalid filter.
    """
    if len(text) > _MAX_LENGTH:
        raise _invalid_filter("it is too long")
    tokens = _split_tokens(text)
    if not tokens:
        return lambda _job, _now: True
    parser = _FilterParser(tokens)
    predicate = parser.parse_expression(0)
    parser.expect_end()
    return predicate


def _split_tokens(text: str) -> list[str]:
    tokens, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise _invalid_filter(f"unexpected {text[position:].strip()[:20]!r}")
        tokens.append(match[0].strip())
        position = match.end()
    return tokens


class _FilterParser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0

    def parse_expression(self, depth: int) -> Predicate:
        if depth > _MAX_DEPTH:
            raise _invalid_filter("too many parentheses")
        parts = [self._parse_sequence(depth)]
        while self._accept_token("AND"):
            parts.append(self._parse_sequence(depth))
        return lambda job, now: all(part(job, now) for part in parts)

    def expect_end(self) -> None:
        if self._position < len(self._tokens):
            raise _invalid_filter(f"unexpected {self._tokens[self._position]!r}")

    def _parse_sequence(self, depth: int) -> Predicate:
        parts = [self._parse_factor(depth)]
        while self._accept_token("OR"):
            parts.append(self._parse_factor(depth))
        return lambda job, now: any(part(job, now) for part in parts)

    def _parse_factor(self, depth: int) -> Predicate:
        if self._accept_token("NOT"):
            inner = self._parse_factor(depth)
            return lambda job, now: not inner(job, now)
        if self._accept_token("("):
            inner = self.parse_expression(depth + 1)
            if not self._accept_token(")"):
                raise _invalid_filter("a parenthesis is not closed")
            return inner
        return _restriction_predicate(self._next_token(), self._next_token(), self._next_token())

    def _next_token(self) -> str:
        if self._position >= len(self._tokens):
            raise _invalid_filter("it ends too early")
        self._position += 1
        return self._tokens[self._position - 1]

    def _accept_token(self, token: str) -> bool:
        if self._position < len(self._tokens) and self._tokens[self._position] == token:
            self._position += 1
            return True
        return False


def _parse_value(raw: str) -> str:
    """Return a value without its quotes. Raises ApiError 400 for a symbol."""
    if raw in {"(", ")", "=", "!=", ":", "<", "<=", ">", ">="}:
        raise _invalid_filter(f"unexpected {raw!r}")
    return re.sub(r"\\(.)", r"\1", raw[1:-1]) if raw[0] in "\"'" else raw


def _restriction_predicate(name: str, comparator: str, raw: str) -> Predicate:
    value = _parse_value(raw)
    if name == "state":
        return _state_predicate(comparator, value)
    if name == "display_name":
        return _display_name_predicate(comparator, value)
    if name == "create_time":
        return _create_time_predicate(comparator, value)
    if name == "labels" and comparator == ":":
        return lambda job, _now: value in job.spec.labels
    if name.startswith("labels.") and len(name) > len("labels."):
        return _label_predicate(name.removeprefix("labels."), comparator, value)
    raise _invalid_filter(f"unknown field {name!r}")


def _state_predicate(comparator: str, value: str) -> Predicate:
    if value not in STATES:
        raise _invalid_filter(f"unknown state {value!r}")
    if comparator == "=":
        return lambda job, now: state_at(job, now) == value
    if comparator == "!=":
        return lambda job, now: state_at(job, now) != value
    raise _unsupported_comparator("state", comparator)


def _display_name_predicate(comparator: str, value: str) -> Predicate:
    if comparator == "=":
        return lambda job, _now: job.spec.display_name == value
    if comparator == "!=":
        return lambda job, _now: job.spec.display_name != value
    if comparator == ":":
        pattern = value.replace("[", "[[]").replace("?", "[?]")
        return lambda job, _now: fnmatchcase(job.spec.display_name, pattern)
    raise _unsupported_comparator("display_name", comparator)


def _create_time_predicate(comparator: str, value: str) -> Predicate:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise _invalid_filter(f"{value!r} is not an RFC 3339 time") from error
    if moment.tzinfo is None or comparator == ":":
        raise _invalid_filter("create_time needs a time with a zone and one of = != < <= > >=")
    # Compare in microseconds, the precision of the times in responses.
    limit = round(moment.timestamp() * 1e6)
    compare = _COMPARISONS[comparator]
    return lambda job, _now: compare(round(job.created * 1e6) - limit)


_COMPARISONS: dict[str, Callable[[int], bool]] = {
    "=": lambda difference: difference == 0,
    "!=": lambda difference: difference != 0,
    "<": lambda difference: difference < 0,
    "<=": lambda difference: difference <= 0,
    ">": lambda difference: difference > 0,
    ">=": lambda difference: difference >= 0,
}


def _label_predicate(key: str, comparator: str, value: str) -> Predicate:
    if comparator == ":" and value == "*":
        return lambda job, _now: key in job.spec.labels
    if comparator in {"=", ":"}:
        return lambda job, _now: job.spec.labels.get(key) == value
    if comparator == "!=":
        return lambda job, _now: job.spec.labels.get(key) != value
    raise _unsupported_comparator(f"labels.{key}", comparator)


def _unsupported_comparator(name: str, comparator: str) -> ApiError:
    return _invalid_filter(f"{name} cannot be compared with {comparator!r}")


def _invalid_filter(reason: str) -> ApiError:
    return ApiError(400, f"Invalid filter: {reason}.")
