"""The filter language of list calls: the part of AIP-160 that the batch job service documents.

filter     = sequence {"AND" sequence}        AND binds more loosely than OR, as AIP-160 has it
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
"""Whether a job, looked at at a time, is meant."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
        |(?P<sign><=|>=|!=|[=:<>()])
        |(?P<time>\d{4}-\d{2}-\d{2}T[^\s"'()]*)
        |(?P<word>[^\s"'()=:<>!]+))""",
    re.VERBOSE,
)
_MAX_LENGTH = 5000
_MAX_DEPTH = 40


def parse(text: str) -> Predicate:
    """The predicate of a filter; the empty filter means every job. Raises ApiError 400 for what it does not understand."""
    if len(text) > _MAX_LENGTH:
        raise _invalid("it is too long")
    tokens = _tokens(text)
    if not tokens:
        return lambda _job, _now: True
    parser = _Parser(tokens)
    predicate = parser.filter(0)
    parser.expect_end()
    return predicate


def _tokens(text: str) -> list[str]:
    tokens, place, text = [], 0, text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise _invalid(f"unexpected {text[place:].strip()[:20]!r}")
        tokens.append(match[0].strip())
        place = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0

    def filter(self, depth: int) -> Predicate:
        if depth > _MAX_DEPTH:
            raise _invalid("too many parentheses")
        parts = [self._sequence(depth)]
        while self._take("AND"):
            parts.append(self._sequence(depth))
        return lambda job, now: all(part(job, now) for part in parts)

    def expect_end(self) -> None:
        if self._place < len(self._tokens):
            raise _invalid(f"unexpected {self._tokens[self._place]!r}")

    def _sequence(self, depth: int) -> Predicate:
        parts = [self._factor(depth)]
        while self._take("OR"):
            parts.append(self._factor(depth))
        return lambda job, now: any(part(job, now) for part in parts)

    def _factor(self, depth: int) -> Predicate:
        if self._take("NOT"):
            inner = self._factor(depth)
            return lambda job, now: not inner(job, now)
        if self._take("("):
            inner = self.filter(depth + 1)
            if not self._take(")"):
                raise _invalid("a parenthesis is not closed")
            return inner
        return _restriction(self._next(), self._next(), self._next())

    def _next(self) -> str:
        if self._place >= len(self._tokens):
            raise _invalid("it ends too early")
        self._place += 1
        return self._tokens[self._place - 1]

    def _take(self, token: str) -> bool:
        if self._place < len(self._tokens) and self._tokens[self._place] == token:
            self._place += 1
            return True
        return False


def _restriction(name: str, comparator: str, raw: str) -> Predicate:
    if raw in {"(", ")", "=", "!=", ":", "<", "<=", ">", ">="}:
        raise _invalid(f"unexpected {raw!r}")
    value = re.sub(r"\\(.)", r"\1", raw[1:-1]) if raw[0] in "\"'" else raw
    if name == "state":
        return _state(comparator, value)
    if name == "display_name":
        return _display_name(comparator, value)
    if name == "create_time":
        return _create_time(comparator, value)
    if name == "labels" and comparator == ":":
        return lambda job, _now: value in job.spec.labels
    if name.startswith("labels.") and len(name) > len("labels."):
        return _label(name.removeprefix("labels."), comparator, value)
    raise _invalid(f"unknown field {name!r}")


def _state(comparator: str, value: str) -> Predicate:
    if value not in STATES:
        raise _invalid(f"unknown state {value!r}")
    if comparator == "=":
        return lambda job, now: state_at(job, now) == value
    if comparator == "!=":
        return lambda job, now: state_at(job, now) != value
    raise _unsupported("state", comparator)


def _display_name(comparator: str, value: str) -> Predicate:
    if comparator == "=":
        return lambda job, _now: job.spec.display_name == value
    if comparator == "!=":
        return lambda job, _now: job.spec.display_name != value
    if comparator == ":":
        pattern = value.replace("[", "[[]").replace("?", "[?]")
        return lambda job, _now: fnmatchcase(job.spec.display_name, pattern)
    raise _unsupported("display_name", comparator)


def _create_time(comparator: str, value: str) -> Predicate:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise _invalid(f"{value!r} is no RFC 3339 time") from error
    if moment.tzinfo is None or comparator == ":":
        raise _invalid("create_time needs a time with a zone and one of = != < <= > >=")
    # Compared in microseconds, the precision of the times that the service shows.
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


def _label(key: str, comparator: str, value: str) -> Predicate:
    if comparator == ":" and value == "*":
        return lambda job, _now: key in job.spec.labels
    if comparator in {"=", ":"}:
        return lambda job, _now: job.spec.labels.get(key) == value
    if comparator == "!=":
        return lambda job, _now: job.spec.labels.get(key) != value
    raise _unsupported(f"labels.{key}", comparator)


def _unsupported(name: str, comparator: str) -> ApiError:
    return _invalid(f"{name} cannot be compared with {comparator!r}")


def _invalid(reason: str) -> ApiError:
    return ApiError(400, f"Invalid filter: {reason}.")
