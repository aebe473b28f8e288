"""Notes in the index how far a run is, for people to see."""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.producers.contract.messages import Chunk, Seal
from promptmill.producers.contract.run_index import Index
from promptmill.producers.contract.status import ShardStatus
from promptmill.workers.coordination.notes import OpenJob
from promptmill.workers.costs import usage
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Created, Ended, Harvested, Input, Plan, Settled
from promptmill.workers.facts.snapshot import RunFacts, ShardFacts
from promptmill.workers.ports.google import Bucket, Job


def ingested(index: Index, run: str, chunk: Chunk, seal: Seal | None) -> bool:
    """Note a chunk that is stored, and with the last one the seal; returns whether that makes the run whole."""
    stored = index.note_chunk(run, chunk.index, chunk.sha256)
    if seal:
        index.seal(run, seal.requests, len(seal.chunks))
    return stored >= (index.sealed_chunks(run) or stored + 1)


def planned(index: Index, run: str, plan: Plan) -> None:
    """Note the shards of a run, and what it may cost."""
    if plan.money:
        index.note_expected(run, usage.expected(plan.money))
    for shard, rows in enumerate(plan.shards):
        index.set_shard(run, ShardStatus(shard, "planned", requests=rows.requests))


def sharded(index: Index, run: str, shard: int, attempt: int, made: Input) -> None:
    """Note that an attempt's input is there."""
    requests = made.requests + made.refused + made.copies + made.reused
    index.set_shard(run, ShardStatus(shard, "sharded", attempt, requests=requests))


def submitted(index: Index, run: str, shard: int, attempt: int, made: Created) -> None:
    """Note the job of an attempt, or that Vertex refused it."""
    state = "JOB_STATE_PENDING" if made.name else "JOB_STATE_FAILED"
    index.set_shard(run, ShardStatus(shard, "submitted", attempt, job=made.name, job_state=state))


def watched(index: Index, job: OpenJob, seen: Job) -> None:
    """Note the state of a job."""
    state = "ended" if seen.ended else "submitted"
    index.set_shard(job.run, ShardStatus(job.shard, state, job.attempt, job=job.name, job_state=seen.state))


def delivering(index: Index, run: str, shard: int, attempt: int) -> None:
    """Note that a job's output is being worked on."""
    index.set_shard(run, ShardStatus(shard, "delivering", attempt))


def settled(index: Index, run: str, shard: int, attempt: int, settled: Settled) -> None:
    """Note the counts of an attempt."""
    counts = settled.counts
    status = ShardStatus(
        shard,
        "settled",
        attempt,
        succeeded=counts.succeeded,
        failed=counts.failed,
        copies=settled.copies,
        reused=settled.reused,
    )
    index.set_shard(run, status)


def harvested(index: Index, run: str, shard: int, attempt: int, found: Harvested) -> None:
    """Note how many answers of an attempt came after its job was given up."""
    index.note_late(run, shard, attempt, found.answers)


def remember(index: Index, bucket: Bucket, known: RunFacts) -> bool:
    """Write a run into the index anew, when Redis has lost it; returns whether it had."""
    if known.manifest is None or index.find_manifest(known.run) is not None:
        return False
    write_anew(index, bucket, known)
    return True


def write_anew(index: Index, bucket: Bucket, known: RunFacts) -> None:
    """Write all that the index holds of a run whose manifest is known, by its facts."""
    assert known.manifest is not None  # noqa: S101
    index.open_run(known.manifest)
    if known.sealed is not None:
        index.seal(known.run, records.get(bucket, names.seal(known.run), Seal).requests, known.sealed)
    if known.plan is not None:
        planned(index, known.run, known.plan)
    wanted = [(place, fact) for place, shard in sorted(known.shards.items()) for fact in _noted(shard)]
    named = ((names.shard(known.run, *place) + name, kind) for place, (name, kind) in wanted)
    for ((shard, attempt), _), fact in zip(wanted, records.get_each(bucket, named), strict=True):
        match fact:
            case Input():
                sharded(index, known.run, shard, attempt, fact)
            case Ended(job):
                watched(index, OpenJob(job.name, known.run, shard, attempt), job)
            case Created():
                submitted(index, known.run, shard, attempt, fact)
            case Settled():
                settled(index, known.run, shard, attempt, fact)


def _noted(shard: ShardFacts) -> Iterator[tuple[str, type[Input | Ended | Created | Settled]]]:
    """Yield the facts of an attempt that the index tells of, in the order in which they came to be."""
    if shard.input:
        yield "input.json", Input
    if shard.ended:
        yield "ended.json", Ended
    elif shard.job:
        yield "job.json", Created
    if shard.files is not None:
        yield "settled.json", Settled
