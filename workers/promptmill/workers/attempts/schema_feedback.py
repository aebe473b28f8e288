"""Retries answers that do not fit the response schema, with the error in the prompt."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from promptmill.workers.facts.row_lists import FeedbackErrors
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder

_FEEDBACK_TEXT = (
    "\n\nYour last answer to this did not fit the response schema ({error}). "
    "Answer again, with JSON that fits it."
)
_UNKNOWN_ERROR = "it is not what the schema says"
_MAX_ERRORS = 10_000
_USER_ROLES = (b'"user"', b"null")


class SchemaFeedback(NamedTuple):
    """The rows of an attempt whose requests quote the schema error of their last answer."""

    rows: RowSet = RowSet()
    errors: dict[int, str] = {}  # noqa: RUF012 - never changed

    def adjust_line(self, line: bytes, row_offset: int) -> bytes:
        """Return the line of the row at ``row_offset``, with feedback if the row needs it."""
        if row_offset not in self.rows:
            return line
        return append_feedback(line, self.errors.get(row_offset, _UNKNOWN_ERROR))


def load_feedback(attempt: AttemptFolder, rows: RowSet) -> SchemaFeedback:
    """Return the feedback for ``rows``, as stored by the previous attempt."""
    if not rows:
        return SchemaFeedback()
    return SchemaFeedback(rows, attempt.previous.repairs.get().errors_by_row())


# The next attempt's requests quote the errors, so they must not change. Another version of the
# validator may phrase them differently.
def write_feedback(attempt: AttemptFolder, errors: Iterable[tuple[int, str]]) -> None:
    """Store the first schema error of each retried row. Only the first call writes."""
    error_numbers: dict[str, int] = {}
    number_by_row: dict[int, int] = {}
    for row_offset, error in errors:
        message = (
            error if error in error_numbers or len(error_numbers) < _MAX_ERRORS else _UNKNOWN_ERROR
        )
        number_by_row.setdefault(row_offset, error_numbers.setdefault(message, len(error_numbers)))
    attempt.repairs.create(
        FeedbackErrors(list(error_numbers), list(number_by_row), list(number_by_row.values()))
    )


def append_feedback(line: bytes, error: str) -> bytes:
    """Return a line with the error appended to its prompt. All other bytes stay the same."""
    wire = _decode_fields(line)
    request = _decode_fields(wire["request"])
    contents = _decode_items(request["contents"])
    last = _decode_fields(contents[-1])
    feedback_part = {"text": _FEEDBACK_TEXT.format(error=error)}
    if bytes(last.get("role", _USER_ROLES[0])) in _USER_ROLES:
        last["parts"] = _to_raw([*_decode_items(last["parts"]), feedback_part])
        contents[-1] = _to_raw(last)
    else:
        contents.append(_to_raw({"role": "user", "parts": [feedback_part]}))
    return _encode(wire | {"request": request | {"contents": contents}})


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def _to_raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
