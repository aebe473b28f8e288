"""Notes in the index how far a run is, for people to see."""

from promptmill.config import names
from promptmill.producers.index import Index
from promptmill.producers.messages import Seal
from promptmill.producers.status import ShardStatus
from promptmill.workers import facts
from promptmill.workers.facts import Created, Plan, RunFacts, Settled
from promptmill.workers.ports import Bucket


def planned(index: Index, run: str, plan: Plan) -> None:
    """Note the shards of a run."""
    for shard, rows in enumerate(plan.shards):
        index.set_shard(run, ShardStatus(shard, "planned", requests=rows.requests))


def reached(index: Index, run: str, shard: int, state: str) -> None:
    """Note the state of a shard."""
    index.set_shard(run, ShardStatus(shard, state))


def submitted(index: Index, run: str, shard: int, made: Created) -> None:
    """Note the job of a shard, or that Vertex refused it."""
    state = "JOB_STATE_PENDING" if made.name else "JOB_STATE_FAILED"
    index.set_shard(run, ShardStatus(shard, "submitted", job=made.name, job_state=state))


def settled(index: Index, run: str, shard: int, settled: Settled) -> None:
    """Note the counts of a shard."""
    counts = settled.counts
    index.set_shard(run, ShardStatus(shard, "settled", succeeded=counts.succeeded, failed=counts.failed))


def remember(index: Index, bucket: Bucket, known: RunFacts) -> None:
    """Write a run into the index anew, when Redis has lost it."""
    if known.manifest is None or index.find_manifest(known.run) is not None:
        return
    index.open_run(known.manifest)
    if known.sealed is not None:
        index.seal(known.run, facts.get(bucket, names.seal(known.run), Seal).requests, known.sealed)
    if known.plan is not None:
        planned(index, known.run, known.plan)
    for place, shard in known.shards.items():
        folder = names.shard(known.run, place, shard.attempt)
        if shard.job:
            submitted(index, known.run, place, facts.get(bucket, folder + "job.json", Created))
        if shard.files is not None:
            settled(index, known.run, place, facts.get(bucket, folder + "settled.json", Settled))
