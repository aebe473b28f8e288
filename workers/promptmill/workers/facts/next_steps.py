"""From the facts of a run to what is to be done next: the one function behind recovery and every join."""

from promptmill.workers.facts.snapshot import RunFacts, ShardFacts
from promptmill.workers.facts.step import Step
from promptmill.workers.steps import callback

FIRST_ATTEMPT = 1


def next_steps(facts: RunFacts) -> list[Step]:
    """Return every step whose turn it is; none while the producer has not sent everything.

    A run that is reported is finished once more, or its callbacks are sent: it is still on the list of open runs, or it
    would not be looked at.
    """
    if facts.reported and facts.manifest and callback.is_wanted(facts.manifest):
        return [Step("callback", facts.run)]
    if facts.reported or (facts.manifest and facts.aborted and not (facts.plan and facts.plan.shards)):
        return [Step("finish", facts.run)]
    if facts.manifest is None:
        return []
    if facts.plan is None:
        return [Step("plan", facts.run)] if facts.is_whole else []
    places = {(index, FIRST_ATTEMPT) for index in range(len(facts.plan.shards))} | facts.shards.keys()
    places |= {(index, attempt + 1) for (index, attempt), shard in facts.shards.items() if shard.again}
    steps = [step for place in sorted(places) for step in _shard_steps(facts, place)]
    return steps or [Step("finish", facts.run)]


def missing_chunks(facts: RunFacts) -> list[int]:
    """Return the chunks that the seal speaks of and the bucket does not hold."""
    return sorted(set(range(facts.sealed or 0)) - facts.chunks)


def _shard_steps(facts: RunFacts, place: tuple[int, int]) -> list[Step]:
    shard = facts.shards.get(place) or ShardFacts()
    if shard.files is not None:
        sinks = len(facts.manifest.sinks) if facts.manifest else 0
        wanted = ((sink, part) for part in range(shard.files) for sink in range(sinks))
        return [
            Step("deliver", facts.run, (*place, part, sink))
            for sink, part in wanted
            if (sink, part) not in shard.delivered
        ]
    if shard.parts is not None:
        todo = [Step("parse", facts.run, (*place, part)) for part in shard.parts if part not in shard.parsed]
        return todo or [Step("settle", facts.run, place)]
    if shard.ended and shard.job:
        return [Step("collect", facts.run, place)]
    if shard.job:
        return [Step("poll", facts.run, place)]
    return [Step("submit" if shard.input else "shard", facts.run, place)]
