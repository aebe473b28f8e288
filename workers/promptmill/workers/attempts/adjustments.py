"""Adjusts the requests of a retry to the failures of earlier attempts."""

from typing import NamedTuple

from promptmill.workers.attempts import schema_feedback
from promptmill.workers.attempts.schema_feedback import SchemaFeedback
from promptmill.workers.attempts.token_limit import TokenLimit
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder


class Adjustments(NamedTuple):
    """More tokens for truncated answers, and feedback for answers that break the schema."""

    token_limit: TokenLimit = TokenLimit()
    feedback: SchemaFeedback = SchemaFeedback()

    def __bool__(self) -> bool:
        """Whether any request is adjusted."""
        return bool(self.token_limit.rows or self.feedback.rows)

    def adjust_line(self, line: bytes, row_offset: int) -> bytes:
        """Return the adjusted wire line of the row at ``row_offset`` in its shard."""
        return self.feedback.adjust_line(self.token_limit.adjust_line(line, row_offset), row_offset)


def load_adjustments(attempt: AttemptFolder) -> Adjustments:
    """Return the adjustments of an attempt. The first attempt has none."""
    if attempt.is_first:
        return Adjustments()
    settled = attempt.previous.settled.get()
    raised_rows = RowSet.unpack(settled.raised_rows)
    tokens = attempt.run.manifest.get().retry_max_tokens if raised_rows else 0
    feedback_rows = RowSet.unpack(settled.feedback_rows)
    return Adjustments(
        TokenLimit(raised_rows, tokens), schema_feedback.load_feedback(attempt, feedback_rows)
    )
