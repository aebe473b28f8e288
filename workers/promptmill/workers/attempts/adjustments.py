"""What an attempt asks otherwise than the run did, as earlier attempts taught: all of it follows from facts."""

from typing import NamedTuple

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.attempts import schema_feedback
from promptmill.workers.attempts.schema_feedback import Repair
from promptmill.workers.attempts.token_limit import Budget
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Settled
from promptmill.workers.ports.google import Bucket


class Mending(NamedTuple):
    """More tokens for rows that were cut off, and what was wrong for those that did not fit the schema."""

    budget: Budget = Budget()
    repair: Repair = Repair()

    def __bool__(self) -> bool:
        """Whether any row is asked otherwise."""
        return bool(self.budget.rows or self.repair.rows)

    def apply(self, line: bytes, place: int) -> bytes:
        """Return the wire line of the row at ``place`` in its shard as this attempt asks it."""
        return self.repair.apply(self.budget.apply(line, place), place)


def load(bucket: Bucket, run: str, index: int, attempt: int) -> Mending:
    """Return the mending of an attempt."""
    if attempt == 1:
        return Mending()
    settled = records.get(bucket, names.shard(run, index, attempt - 1) + "settled.json", Settled)
    raised = records.unpack(settled.raised)
    tokens = records.get(bucket, names.manifest(run), Manifest).retry_max_tokens if raised else 0
    return Mending(
        Budget(raised, tokens), schema_feedback.load(bucket, run, index, attempt, records.unpack(settled.repaired))
    )
