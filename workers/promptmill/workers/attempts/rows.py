"""The rows that an attempt has to answer."""

from promptmill.producers.contract.messages import Manifest
from promptmill.workers.attempts import answer_reuse
from promptmill.workers.facts.records import ShardPlan
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder


def wanted_rows(attempt: AttemptFolder, manifest: Manifest, shard_plan: ShardPlan) -> RowSet:
    """Return the rows of a shard that an attempt has to answer.

    For the first attempt, these are all rows without a reused answer. For a later one,
    they are the rows that the previous attempt left to retry.
    """
    if attempt.is_first:
        reused = answer_reuse.load_reused(attempt, manifest)
        return RowSet.first(shard_plan.requests) - reused.row_set
    return RowSet.unpack(attempt.previous.settled.get().retried_rows)
