"""Notes in the index how far a run is, for people to see."""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.producers.contract.messages import Chunk, Seal
from promptmill.producers.contract.run_index import RunIndex
from promptmill.producers.contract.status import ShardStatus
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.costs import usage
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Created, Ended, Harvested, Input, Plan, Settled
from promptmill.workers.facts.snapshot import AttemptFacts, RunSnapshot
from promptmill.workers.ports.google import Bucket, Job


def record_chunk(index: RunIndex, run: str, chunk: Chunk, seal: Seal | None) -> bool:
    """Note a chunk that is stored, and with the last one the seal; returns whether that makes the run whole."""
    stored = index.record_chunk(run, chunk.index, chunk.sha256)
    if seal:
        index.record_seal(run, seal.total_requests, len(seal.chunks))
    return stored >= (index.count_sealed_chunks(run) or stored + 1)


def record_plan(index: RunIndex, run: str, plan: Plan) -> None:
    """Note the shards of a run, and what it may cost."""
    if plan.money:
        index.record_estimate(run, usage.expected_cost(plan.money))
    for shard, rows in enumerate(plan.shards):
        index.set_shard(run, ShardStatus(shard, "planned", requests=rows.requests))


def record_input(index: RunIndex, run: str, shard: int, attempt: int, shard_input: Input) -> None:
    """Note that an attempt's input is there."""
    requests = shard_input.requests + shard_input.refused + shard_input.copies + shard_input.reused
    index.set_shard(run, ShardStatus(shard, "sharded", attempt, requests=requests))


def record_job(index: RunIndex, run: str, shard: int, attempt: int, created: Created) -> None:
    """Note the job of an attempt, or that Vertex refused it."""
    state = "JOB_STATE_PENDING" if created.name else "JOB_STATE_FAILED"
    index.set_shard(
        run, ShardStatus(shard, "submitted", attempt, job=created.name, job_state=state)
    )


def record_job_state(index: RunIndex, open_job: OpenJob, polled_job: Job) -> None:
    """Note the state of a job."""
    state = "ended" if polled_job.has_ended else "submitted"
    index.set_shard(
        open_job.run,
        ShardStatus(
            open_job.shard, state, open_job.attempt, job=open_job.name, job_state=polled_job.state
        ),
    )


def record_collection(index: RunIndex, run: str, shard: int, attempt: int) -> None:
    """Note that a job's output is being worked on."""
    index.set_shard(run, ShardStatus(shard, "delivering", attempt))


def record_counts(index: RunIndex, run: str, shard: int, attempt: int, settled: Settled) -> None:
    """Note the counts of an attempt."""
    counts = settled.counts
    status = ShardStatus(
        shard,
        "settled",
        attempt,
        succeeded=counts.succeeded,
        failed=counts.failed,
        deduplicated=settled.copies,
        reused=settled.reused,
    )
    index.set_shard(run, status)


def record_late_answers(
    index: RunIndex, run: str, shard: int, attempt: int, harvest: Harvested
) -> None:
    """Note how many answers of an attempt came after its job was given up."""
    index.record_late_answers(run, shard, attempt, harvest.answers)


def restore_if_lost(index: RunIndex, bucket: Bucket, snapshot: RunSnapshot) -> bool:
    """Write a run into the index anew, when Redis has lost it; returns whether it had."""
    if snapshot.manifest is None or index.find_manifest(snapshot.run) is not None:
        return False
    restore_run(index, bucket, snapshot)
    return True


def restore_run(index: RunIndex, bucket: Bucket, snapshot: RunSnapshot) -> None:
    """Write all that the index holds of a run whose manifest is known, by its facts."""
    assert snapshot.manifest is not None  # noqa: S101
    index.open_run(snapshot.manifest)
    if snapshot.sealed is not None:
        index.record_seal(
            snapshot.run,
            records.get_fact(bucket, names.seal(snapshot.run), Seal).total_requests,
            snapshot.sealed,
        )
    if snapshot.plan is not None:
        record_plan(index, snapshot.run, snapshot.plan)
    indexed_facts = [
        (attempt_ref, fact)
        for attempt_ref, shard in sorted(snapshot.attempts.items())
        for fact in _indexed_facts(shard)
    ]
    objects = (
        (names.shard(snapshot.run, *place) + name, fact_type)
        for place, (name, fact_type) in indexed_facts
    )
    for ((shard, attempt), _), fact in zip(
        indexed_facts, records.get_facts(bucket, objects), strict=True
    ):
        match fact:
            case Input():
                record_input(index, snapshot.run, shard, attempt, fact)
            case Ended(job):
                record_job_state(index, OpenJob(job.name, snapshot.run, shard, attempt), job)
            case Created():
                record_job(index, snapshot.run, shard, attempt, fact)
            case Settled():
                record_counts(index, snapshot.run, shard, attempt, fact)


def _indexed_facts(
    attempt_facts: AttemptFacts,
) -> Iterator[tuple[str, type[Input | Ended | Created | Settled]]]:
    """Yield the facts of an attempt that the index tells of, in the order in which they came to be."""
    if attempt_facts.input:
        yield "input.json", Input
    if attempt_facts.ended:
        yield "ended.json", Ended
    elif attempt_facts.job:
        yield "job.json", Created
    if attempt_facts.files is not None:
        yield "settled.json", Settled
