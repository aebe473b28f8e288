"""The rows that an attempt is for."""

from promptmill.producers.contract.messages import Manifest
from promptmill.workers.attempts import answer_reuse
from promptmill.workers.facts import records
from promptmill.workers.facts.records import ShardPlan
from promptmill.workers.facts.run_folder import AttemptFolder


def wanted_rows(attempt: AttemptFolder, manifest: Manifest, shard_plan: ShardPlan) -> int:
    """Return the bitmap of the shard's rows that an attempt is for.

    The first attempt is for all rows without a reused answer, a later one for the
    rows that the attempt before it left to retry.
    """
    if attempt.is_first:
        reused = answer_reuse.load_reused(attempt, manifest)
        return (1 << shard_plan.requests) - 1 & ~reused.row_bitmap
    return records.unpack_rows(attempt.previous.settled.get().again)
