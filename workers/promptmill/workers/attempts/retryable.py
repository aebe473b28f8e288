"""Which failed answers another try may mend that asks otherwise: those that were cut off, or did not fit the schema."""

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
    """What the run allows: ``max_tokens`` for rows that were cut off with less, and to ``schema_feedback`` what the ``validator`` refuses.

    ``feedback_rows`` were already sent with feedback, which is done once only.
    """

    max_tokens: int = 0
    validator: Validator | None = None
    schema_feedback: bool = False
    feedback_rows: RowSet = RowSet()

    def validate_result(self, result: Result) -> Result:
        """Return a result, checked by the run's response schema if it has one."""
        return self.validator.validate_result(result) if self.validator else result

    def can_raise_tokens(self, result: Result, line: bytes) -> bool:
        """Whether more tokens may mend a result, by its line of output."""
        return token_limit.can_raise_limit(result, line, self.max_tokens)

    def can_send_feedback(self, result: Result, row_offset: int | None = None) -> bool:
        """Whether hearing what was wrong may mend a result; its ``row_offset`` in the shard may not be known yet."""
        if (
            not self.schema_feedback
            or result.error is None
            or result.error.reason != FailureReason.SCHEMA_INVALID
        ):
            return False
        return row_offset is None or row_offset not in self.feedback_rows


def load_policy(attempt: AttemptFolder, manifest: Manifest) -> RetryPolicy:
    """Return which failed rows of an attempt are worth another try."""
    feedback_rows = RowSet()
    if manifest.retry_schema_invalid and not attempt.is_first:
        feedback_rows = RowSet.unpack(attempt.previous.settled.get().repaired)
    return RetryPolicy(
        manifest.retry_max_tokens,
        schema_validation.make_validator(manifest),
        manifest.retry_schema_invalid,
        feedback_rows,
    )
