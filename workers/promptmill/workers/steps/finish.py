"""Closes a run: completes its sinks, writes the report, and takes it off the list of open runs."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import msgspec

from promptmill.config import names, spans
from promptmill.config.errors import NotFound, Transient
from promptmill.producers.contract.messages import Manifest, SinkSpec
from promptmill.producers.contract.status import Report
from promptmill.producers.pricing.cost import Cost
from promptmill.workers.attempts import answer_reuse, cost_limit
from promptmill.workers.costs import usage
from promptmill.workers.facts import records
from promptmill.workers.facts.records import (
    Aborted,
    Cancelled,
    Counts,
    Created,
    Delivered,
    Ended,
    Input,
    Parts,
    Plan,
    Settled,
)
from promptmill.workers.output import failure_reasons
from promptmill.workers.ports.google import Bucket
from promptmill.workers.steps import callback, cancel
from promptmill.workers.steps.deliver import OpenSink, part_name


def finish(
    bucket: Bucket,
    open_sink: OpenSink,
    run: str,
    attempts: list[tuple[int, int]],
    tell: Callable[[Report], object] = lambda _: None,
) -> Report:
    """Write the report of a run of which all ``attempts`` (shard, attempt) are settled and delivered.

    Whom to ``tell`` is told before the run leaves the list of open runs: nobody would look at it again after a crash. With
    callbacks it leaves that list only when they are sent.
    """
    manifest = records.get(bucket, names.manifest(run), Manifest)

    def make() -> Report:
        made = _report(bucket, open_sink, manifest, attempts)
        if made.succeeded:
            answer_reuse.note_done(bucket, manifest)
        return made

    report = records.once(bucket, names.report(run), Report, make)
    tell(report)
    if not callback.is_wanted(manifest):
        bucket.delete(names.open_marker(run))
    return report


def _report(bucket: Bucket, open_sink: OpenSink, manifest: Manifest, attempts: list[tuple[int, int]]) -> Report:
    run = manifest.run
    if aborted := _aborted(bucket, run):
        return _unsubmitted(bucket, manifest, aborted)
    plan = records.get(bucket, names.plan(run), Plan)
    if len({index for index, _ in attempts}) < len(plan.shards):
        raise Transient("the run was divided into shards while it was about to be aborted")
    story = _story(bucket, run, attempts, len(manifest.sinks))
    sinks = [_complete(open_sink, spec, run, story) for spec in manifest.sinks]
    report = _finished(bucket, manifest, plan, story, sinks)
    return _with_late(_cut_short(report, cancel.find(bucket, run), manifest.deadline), bucket, story)


def _cut_short(report: Report, wish: Cancelled | None, deadline: float) -> Report:
    """Say in the report that the run was ended before its time, if that cost it rows."""
    if wish and wish.reason and report.failures.keys() & failure_reasons.PASSING:
        error = f"the run's deadline of {spans.show(deadline)} passed"
        return msgspec.structs.replace(report, state="expired", error=error)
    if wish and not wish.reason and report.failed:
        return msgspec.structs.replace(report, state="cancelled")
    return report


def _with_late(report: Report, bucket: Bucket, story: list["_Attempt"]) -> Report:
    """Say in the report where the answers of jobs that were given up would come to be, if they do."""
    given_up = sum(one.ended.by_hand for one in story)
    if not given_up:
        return report
    words = f"jobs given up: {given_up}; answers that they may yet have come to {bucket.url}/{names.late_folder(report.run)}"
    return msgspec.structs.replace(report, error="; ".join(filter(None, (report.error, words))))


def _aborted(bucket: Bucket, run: str) -> Aborted | None:
    """Return why the run is not to be submitted; None when nobody wished that, or it had a plan by then."""
    try:
        aborted = records.get(bucket, names.aborted(run), Aborted)
    except NotFound:
        return None
    return None if records.keep(bucket, names.plan(run), Plan([], records.now())).shards else aborted


class _Attempt(NamedTuple):
    shard: int
    number: int
    input: Input
    created: Created
    ended: Ended
    parts: Parts
    settled: Settled
    delivered: float


def _story(bucket: Bucket, run: str, attempts: list[tuple[int, int]], sinks: int) -> list[_Attempt]:
    """Read the facts of all attempts, one kind after another."""

    def each(fact: str, kind: type[records.T]) -> Iterator[records.T]:
        return records.get_each(bucket, ((names.shard(run, *place) + fact, kind) for place in attempts))

    settled = list(each("settled.json", Settled))
    columns = (
        each("input.json", Input),
        each("job.json", Created),
        each("ended.json", Ended),
        each("parts.json", Parts),
        settled,
        _deliveries(bucket, run, attempts, settled, sinks),
    )
    rows = zip(attempts, *map(list, columns), strict=True)
    return [_Attempt(*place, *found) for place, *found in rows]


def _deliveries(
    bucket: Bucket, run: str, attempts: list[tuple[int, int]], settled: list[Settled], sinks: int
) -> Iterator[float]:
    """Yield when the last file of each attempt came to its last sink."""
    places = [
        [names.delivered(run, *place, sink, part) for sink in range(sinks) for part in range(len(one.files))]
        for place, one in zip(attempts, settled, strict=True)
    ]
    found = records.get_each(bucket, ((name, Delivered) for name in chain.from_iterable(places)))
    for one, of_attempt in zip(settled, places, strict=True):
        yield max((delivered.at for delivered in islice(found, len(of_attempt))), default=one.at)


def _complete(open_sink: OpenSink, spec: SinkSpec, run: str, story: list[_Attempt]) -> str:
    parts = [part_name(one.shard, one.number, part) for one in story for part in range(len(one.settled.files))]
    return open_sink(spec, run).finish(parts)


def _finished(bucket: Bucket, manifest: Manifest, plan: Plan, story: list[_Attempt], sinks: list[str]) -> Report:
    counts = sum((one.settled.counts for one in story), Counts())
    requests = sum(shard.requests for shard in plan.shards)
    seconds = _stages(manifest, plan, story)
    vertex = _vertex_seconds(story)
    return Report(
        run=manifest.run,
        state=state_of(counts, {one.ended.job.state for one in story}),
        name=manifest.name,
        model=manifest.model,
        requests=requests,
        succeeded=counts.succeeded,
        failed=counts.failed,
        unaccounted=requests - counts.succeeded - counts.failed,
        duplicates=counts.duplicates,
        unknown=counts.unknown,
        unreadable=counts.unreadable,
        jobs=sum(bool(one.created.name) for one in story),
        failures=counts.failures,
        tokens=counts.tokens,
        seconds=seconds,
        vertex_seconds=vertex,
        overhead_seconds=round(max(seconds["total"] - vertex, 0.0), 3),
        results=f"{bucket.url}/{names.folder(manifest.run)}",
        sinks=sinks,
        cost=usage.cost_of(plan.money, counts.billed, over_budget=cost_limit.REASON in counts.failures),
        copies=sum(one.settled.copies for one in story),
        reused=sum(one.settled.reused for one in story),
        error=next((one.created.refusal or one.ended.job.error_message for one in story if _went_wrong(one)), ""),
    )


def _went_wrong(one: _Attempt) -> bool:
    return bool(one.created.refusal or one.ended.job.error_message)


def state_of(counts: Counts, job_states: set[str]) -> str:
    """Return the final state of a run from its counts; one without any answer ends as its jobs did, if they agree."""
    if not counts.failed:
        return "succeeded"
    if counts.succeeded:
        return "partially_succeeded"
    ends = {"JOB_STATE_CANCELLED": "cancelled", "JOB_STATE_EXPIRED": "expired"}
    return ends.get(job_states.pop(), "failed") if len(job_states) == 1 else "failed"


def _stages(manifest: Manifest, plan: Plan, story: list[_Attempt]) -> dict[str, float]:
    """Where the time went: a stage ends when the last shard has passed it, once for every attempt.

    The stages add up to the total.
    """
    seconds: defaultdict[str, float] = defaultdict(float, ingest=plan.at - manifest.created)
    before = plan.at
    for number in sorted({one.number for one in story}):
        for stage, end in _ends([one for one in story if one.number == number]):
            seconds[stage] += max(end - before, 0.0)
            before = max(before, end)
    now = records.now()
    seconds.update({"finish": now - before, "total": now - manifest.created})
    return {stage: round(max(time, 0.0), 3) for stage, time in seconds.items()}


def _ends(round_: list[_Attempt]) -> Iterator[tuple[str, float]]:
    yield "shard", max(one.input.at for one in round_)
    yield "submit", max(one.created.at for one in round_)
    yield "vertex", max(one.ended.job.end_time or one.created.at for one in round_)
    yield "poll", max(one.ended.at for one in round_)
    yield "collect", max(one.parts.at for one in round_)
    yield "parse", max(one.settled.at for one in round_)
    yield "deliver", max(one.delivered for one in round_)


def _vertex_seconds(story: list[_Attempt]) -> float:
    """How long at least one job was at Vertex, from its creation to its end."""
    total = until = 0.0
    for start, end in sorted((one.ended.job.create_time, one.ended.job.end_time) for one in story):
        if start and end > until:
            total += end - max(start, until)
            until = end
    return round(total, 3)


def _unsubmitted(bucket: Bucket, manifest: Manifest, aborted: Aborted) -> Report:
    seconds = round(max(aborted.at - manifest.created, 0.0), 3)
    return Report(
        run=manifest.run,
        state=aborted.state,
        name=manifest.name,
        model=manifest.model,
        requests=0,
        succeeded=0,
        failed=0,
        unaccounted=0,
        duplicates=0,
        unknown=0,
        unreadable=0,
        jobs=0,
        failures={},
        tokens={},
        seconds={"total": seconds},
        vertex_seconds=0.0,
        overhead_seconds=seconds,
        results=f"{bucket.url}/{names.folder(manifest.run)}",
        sinks=[],
        cost=Cost(usd=0.0, over_budget=aborted.over_budget, limit_usd=manifest.max_cost_usd or None),
        error=aborted.reason,
    )
