"""The rows that an attempt is for."""

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.attempts import answer_reuse
from promptmill.workers.facts import records
from promptmill.workers.facts.records import ShardPlan
from promptmill.workers.facts.run_folder import FIRST_ATTEMPT
from promptmill.workers.ports.google import Bucket


def wanted_rows(
    bucket: Bucket, manifest: Manifest, shard: int, attempt: int, shard_plan: ShardPlan
) -> int:
    """Return the bitmap of the shard's rows that an attempt is for.

    The first attempt is for all rows without a reused answer, a later one for the
    rows that the attempt before it left to retry.
    """
    if attempt == FIRST_ATTEMPT:
        return (1 << shard_plan.requests) - 1 & ~answer_reuse.load_reused(
            bucket, manifest, shard, attempt
        ).row_bitmap
    previous_folder = names.shard(manifest.run, shard, attempt - 1)
    return records.unpack_rows(
        records.get_fact(bucket, previous_folder + "settled.json", records.Settled).again
    )
