"""Records the progress of a run in the index, for its status."""

from collections.abc import Iterator
from datetime import UTC, datetime

from promptmill.producers.contract.messages import Chunk, Seal
from promptmill.producers.contract.run_index import RunIndex
from promptmill.producers.contract.status import ShardStatus
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.costs import usage
from promptmill.workers.facts.fact import ReadableFact, read_facts
from promptmill.workers.facts.records import Created, Ended, Harvested, Input, Plan, Settled
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder
from promptmill.workers.facts.snapshot import AttemptFacts, RunSnapshot
from promptmill.workers.ports.google import Bucket, Job

_IndexedFact = ReadableFact[Input | Ended | Created | Settled]
_AttemptFact = tuple[AttemptFolder, _IndexedFact]


def record_chunk(index: RunIndex, run: str, chunk: Chunk, seal: Seal | None) -> bool:
    """Record a stored chunk, and the seal that comes with the last one.

    Returns whether the run is complete.
    """
    stored = index.record_chunk(run, chunk.index, chunk.sha256)
    if seal:
        index.record_seal(run, seal.total_requests, len(seal.chunks))
    return stored >= (index.count_sealed_chunks(run) or stored + 1)


def record_plan(index: RunIndex, run: str, plan: Plan) -> None:
    """Record the shards of a run, its warnings and its estimated cost."""
    if plan.warnings:
        index.record_run_warnings(run, plan.warnings)
    if plan.money:
        index.record_estimate(run, usage.expected_cost(plan.money))
    for shard, rows in enumerate(plan.shards):
        index.set_shard(run, ShardStatus(shard, "planned", requests=rows.requests))


def record_input(index: RunIndex, attempt: AttemptFolder, shard_input: Input) -> None:
    """Record that an attempt's input is stored."""
    requests = (
        shard_input.requests + shard_input.refused + shard_input.deduplicated + shard_input.reused
    )
    status = ShardStatus(attempt.shard, "sharded", attempt.number, requests=requests)
    index.set_shard(attempt.run.id, status)


def record_job(index: RunIndex, attempt: AttemptFolder, created: Created) -> None:
    """Record the job of an attempt, or that Vertex refused it."""
    state = "JOB_STATE_PENDING" if created.name else "JOB_STATE_FAILED"
    status = ShardStatus(
        attempt.shard, "submitted", attempt.number, job=created.name, job_state=state
    )
    index.set_shard(attempt.run.id, status)
    _clear_delay(index, attempt)


def record_job_state(index: RunIndex, open_job: OpenJob, polled_job: Job) -> None:
    """Record the state of a job."""
    state = "ended" if polled_job.has_ended else "submitted"
    index.set_shard(
        open_job.run,
        ShardStatus(
            open_job.shard, state, open_job.attempt, job=open_job.name, job_state=polled_job.state
        ),
    )


def record_collection(index: RunIndex, attempt: AttemptFolder) -> None:
    """Record that a job's output is being processed."""
    status = ShardStatus(attempt.shard, "delivering", attempt.number)
    index.set_shard(attempt.run.id, status)


def record_counts(index: RunIndex, attempt: AttemptFolder, settled: Settled) -> None:
    """Record the counts of an attempt."""
    counts = settled.counts
    status = ShardStatus(
        attempt.shard,
        "settled",
        attempt.number,
        succeeded=counts.succeeded,
        failed=counts.failed,
        deduplicated=settled.deduplicated,
        reused=settled.reused,
    )
    index.set_shard(attempt.run.id, status)
    if settled.delay:
        warning = _describe_delay(settled.at + settled.delay.seconds, settled.delay.cause)
        index.set_shard_warning(attempt.run.id, attempt.shard, attempt.number + 1, warning)


def _describe_delay(start: float, cause: str) -> str:
    start_time = datetime.fromtimestamp(start, UTC).strftime("%H:%M")
    return f"its job is created at {start_time} UTC: {cause}"


def _clear_delay(index: RunIndex, attempt: AttemptFolder) -> None:
    if not attempt.is_first:
        index.set_shard_warning(attempt.run.id, attempt.shard, attempt.number, "")


def record_late_answers(index: RunIndex, attempt: AttemptFolder, harvest: Harvested) -> None:
    """Record how many answers of an abandoned job arrived late."""
    index.record_late_answers(attempt.run.id, attempt.shard, attempt.number, harvest.answers)


def restore_run(index: RunIndex, bucket: Bucket, snapshot: RunSnapshot) -> None:
    """Write a run into the index from its facts. The snapshot must have the manifest."""
    assert snapshot.manifest is not None  # noqa: S101
    run = RunFolder(bucket, snapshot.run)
    index.open_run(snapshot.manifest)
    if snapshot.sealed is not None:
        index.record_seal(run.id, run.seal.get().total_requests, snapshot.sealed)
    if snapshot.plan is not None:
        record_plan(index, run.id, snapshot.plan)
    indexed = list(_list_indexed_facts(run, snapshot))
    values = read_facts(bucket, (fact for _, fact in indexed))
    for (attempt, _), value in zip(indexed, values, strict=True):
        _record_fact(index, attempt, value)


def _record_fact(
    index: RunIndex, attempt: AttemptFolder, fact: Input | Ended | Created | Settled
) -> None:
    match fact:
        case Input():
            record_input(index, attempt, fact)
        case Ended(job):
            open_job = OpenJob(job.name, attempt.run.id, attempt.shard, attempt.number)
            record_job_state(index, open_job, job)
            _clear_delay(index, attempt)
        case Created():
            record_job(index, attempt, fact)
        case Settled():
            record_counts(index, attempt, fact)


def _list_indexed_facts(run: RunFolder, snapshot: RunSnapshot) -> Iterator[_AttemptFact]:
    for attempt_ref, attempt_facts in sorted(snapshot.attempts.items()):
        attempt = run.attempt(*attempt_ref)
        yield from ((attempt, fact) for fact in _indexed_facts(attempt, attempt_facts))


def _indexed_facts(attempt: AttemptFolder, attempt_facts: AttemptFacts) -> Iterator[_IndexedFact]:
    """Yield the facts of an attempt that the index shows, oldest first."""
    if attempt_facts.input:
        yield attempt.input
    if attempt_facts.ended:
        yield attempt.ended
    elif attempt_facts.job:
        yield attempt.job
    if attempt_facts.files is not None:
        yield attempt.settled
