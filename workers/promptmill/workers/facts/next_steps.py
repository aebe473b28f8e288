"""Maps the facts of a run to its next steps. All joins and all recovery use this function."""

from promptmill.workers.facts.run_folder import FIRST_ATTEMPT
from promptmill.workers.facts.snapshot import AttemptFacts, RunSnapshot
from promptmill.workers.facts.step import Step


def next_steps(snapshot: RunSnapshot) -> list[Step]:
    """Return the steps that are due; none until the producer has sent everything."""
    # A run with a report gets ``finish`` or ``callback`` again. Only open runs are swept, so
    # a crash must have left its open marker behind.
    if snapshot.reported and snapshot.manifest and snapshot.manifest.has_callbacks:
        return [Step("callback", snapshot.run)]
    if snapshot.reported or (
        snapshot.manifest and snapshot.aborted and not (snapshot.plan and snapshot.plan.shards)
    ):
        return [Step("finish", snapshot.run)]
    if snapshot.manifest is None:
        return []
    if snapshot.plan is None:
        return [Step("plan", snapshot.run)] if snapshot.is_whole else []
    attempt_refs = sorted(_list_attempts(snapshot, len(snapshot.plan.shards)))
    steps = [step for ref in attempt_refs for step in _attempt_steps(snapshot, ref)]
    return steps or [Step("finish", snapshot.run)]


def missing_chunks(snapshot: RunSnapshot) -> list[int]:
    """Return the chunks that the seal counts but the bucket lacks."""
    return sorted(set(range(snapshot.sealed or 0)) - snapshot.chunks)


def _list_attempts(snapshot: RunSnapshot, shards: int) -> set[tuple[int, int]]:
    first_attempts = {(shard, FIRST_ATTEMPT) for shard in range(shards)}
    retries = {
        (shard, attempt + 1)
        for (shard, attempt), attempt_facts in snapshot.attempts.items()
        if attempt_facts.has_retries
    }
    return first_attempts | retries | snapshot.attempts.keys()


def _attempt_steps(snapshot: RunSnapshot, attempt_ref: tuple[int, int]) -> list[Step]:
    attempt_facts = snapshot.attempts.get(attempt_ref) or AttemptFacts()
    if attempt_facts.files is not None:
        return _deliver_steps(snapshot, attempt_ref, attempt_facts.files, attempt_facts.delivered)
    if attempt_facts.parts is not None:
        missing_parts = [part for part in attempt_facts.parts if part not in attempt_facts.parsed]
        parse_steps = [Step("parse", snapshot.run, (*attempt_ref, part)) for part in missing_parts]
        return parse_steps or [Step("settle", snapshot.run, attempt_ref)]
    if attempt_facts.ended and attempt_facts.job:
        return [Step("collect", snapshot.run, attempt_ref)]
    if attempt_facts.job:
        return [Step("poll", snapshot.run, attempt_ref)]
    return [Step("submit" if attempt_facts.input else "shard", snapshot.run, attempt_ref)]


def _deliver_steps(
    snapshot: RunSnapshot, attempt_ref: tuple[int, int], files: int, delivered: set[tuple[int, int]]
) -> list[Step]:
    sinks = len(snapshot.manifest.sinks) if snapshot.manifest else 0
    return [
        Step("deliver", snapshot.run, (*attempt_ref, part, sink))
        for part in range(files)
        for sink in range(sinks)
        if (sink, part) not in delivered
    ]
