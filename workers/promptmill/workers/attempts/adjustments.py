"""What an attempt asks otherwise than the run did, as earlier attempts taught: all of it follows from facts."""

from typing import NamedTuple

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.attempts import schema_feedback
from promptmill.workers.attempts.schema_feedback import SchemaFeedback
from promptmill.workers.attempts.token_limit import TokenLimit
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Settled
from promptmill.workers.ports.google import Bucket


class Adjustments(NamedTuple):
    """More tokens for rows that were cut off, and what was wrong for those that did not fit the schema."""

    token_limit: TokenLimit = TokenLimit()
    feedback: SchemaFeedback = SchemaFeedback()

    def __bool__(self) -> bool:
        """Whether any row is asked otherwise."""
        return bool(self.token_limit.rows or self.feedback.rows)

    def adjust_line(self, line: bytes, row_offset: int) -> bytes:
        """Return the wire line of the row at ``row_offset`` in its shard as this attempt asks it."""
        return self.feedback.adjust_line(self.token_limit.adjust_line(line, row_offset), row_offset)


def load_adjustments(bucket: Bucket, run: str, shard: int, attempt: int) -> Adjustments:
    """Return the mending of an attempt."""
    if attempt == 1:
        return Adjustments()
    settled = records.get_fact(
        bucket, names.shard(run, shard, attempt - 1) + "settled.json", Settled
    )
    raised_rows = records.unpack_rows(settled.raised)
    tokens = (
        records.get_fact(bucket, names.manifest(run), Manifest).retry_max_tokens
        if raised_rows
        else 0
    )
    return Adjustments(
        TokenLimit(raised_rows, tokens),
        schema_feedback.load_feedback(
            bucket, run, shard, attempt, records.unpack_rows(settled.repaired)
        ),
    )
