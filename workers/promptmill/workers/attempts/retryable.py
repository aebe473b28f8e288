"""Decides which failed answers a retry with an adjusted request may fix.

These are answers that were cut off, or that do not fit the response schema.
"""

from typing import NamedTuple

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Result
from promptmill.workers.attempts import token_limit
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.output import schema_validation
from promptmill.workers.output.schema_validation import Validator


class RetryPolicy(NamedTuple):
    """The retries with adjusted requests that a run allows.

    Answers that were cut off below ``max_tokens`` are retried with that limit. With
    ``schema_feedback``, answers that ``validator`` rejects are retried with the error.
    That happens once per row; ``feedback_rows`` have had it.
    """

    max_tokens: int = 0
    validator: Validator | None = None
    schema_feedback: bool = False
    feedback_rows: RowSet = RowSet()

    def validate_result(self, result: Result) -> Result:
        """Return a result, validated if the run has a response schema."""
        return self.validator.validate_result(result) if self.validator else result

    def can_raise_tokens(self, result: Result, line: bytes) -> bool:
        """Whether a higher token limit may fix a result, given its line of output."""
        return token_limit.can_raise_limit(result, line, self.max_tokens)

    def can_send_feedback(self, result: Result, row_offset: int | None = None) -> bool:
        """Whether feedback on the schema error may fix a result.

        ``row_offset`` is None for an answer that is not matched to a row yet.
        """
        if (
            not self.schema_feedback
            or result.error is None
            or result.error.reason != FailureReason.SCHEMA_INVALID
        ):
            return False
        return row_offset is None or row_offset not in self.feedback_rows


def load_policy(attempt: AttemptFolder, manifest: Manifest) -> RetryPolicy:
    """Return the retry policy for the failed rows of an attempt."""
    feedback_rows = RowSet()
    if manifest.retry_schema_invalid and not attempt.is_first:
        feedback_rows = RowSet.unpack(attempt.previous.settled.get().feedback_rows)
    return RetryPolicy(
        manifest.retry_max_tokens,
        schema_validation.make_validator(manifest),
        manifest.retry_schema_invalid,
        feedback_rows,
    )
