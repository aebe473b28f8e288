"""Closes a run: completes its sinks, writes the report, and takes it off the list of open runs."""

from typing import NamedTuple

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.producers.messages import Manifest, SinkSpec
from promptmill.producers.status import Report
from promptmill.workers import facts
from promptmill.workers.facts import Aborted, Counts, Created, Delivered, Ended, Input, Parts, Plan, Settled, ShardPlan
from promptmill.workers.ports import Bucket
from promptmill.workers.steps.deliver import OpenSink, part_name


def finish(bucket: Bucket, open_sink: OpenSink, run: str, attempts: dict[int, int]) -> Report:
    """Write the report of a run whose shards are all settled and delivered; ``attempts`` has each shard's last."""
    if bucket.find(names.report(run)) is None:
        facts.put(bucket, names.report(run), _report(bucket, open_sink, run, attempts))
    bucket.delete(names.open_marker(run))
    return facts.get(bucket, names.report(run), Report)


def _report(bucket: Bucket, open_sink: OpenSink, run: str, attempts: dict[int, int]) -> Report:
    manifest = facts.get(bucket, names.manifest(run), Manifest)
    try:
        aborted = facts.get(bucket, names.aborted(run), Aborted)
    except NotFound:
        plan = facts.get(bucket, names.plan(run), Plan)
        story = [
            _shard(bucket, run, index, rows, attempts[index], len(manifest.sinks))
            for index, rows in enumerate(plan.shards)
        ]
        sinks = [_complete(open_sink, spec, run, story) for spec in manifest.sinks]
        return _finished(bucket, manifest, plan, story, sinks)
    return _unsubmitted(bucket, manifest, aborted)


class _Shard(NamedTuple):
    rows: ShardPlan
    input: Input
    created: Created
    ended: Ended
    parts: Parts
    settled: Settled
    delivered: float


def _shard(bucket: Bucket, run: str, index: int, rows: ShardPlan, attempt: int, sinks: int) -> _Shard:
    folder = names.shard(run, index, attempt)
    settled = facts.get(bucket, folder + "settled.json", Settled)
    places = [(sink, part) for sink in range(sinks) for part in range(len(settled.files))]
    delivered = [facts.get(bucket, names.delivered(run, index, attempt, *place), Delivered).at for place in places]
    return _Shard(
        rows=rows,
        input=facts.get(bucket, folder + "input.json", Input),
        created=facts.get(bucket, folder + "job.json", Created),
        ended=facts.get(bucket, folder + "ended.json", Ended),
        parts=facts.get(bucket, folder + "parts.json", Parts),
        settled=settled,
        delivered=max(delivered, default=settled.at),
    )


def _complete(open_sink: OpenSink, spec: SinkSpec, run: str, story: list[_Shard]) -> str:
    parts = [part_name(index, part) for index, shard in enumerate(story) for part in range(len(shard.settled.files))]
    return open_sink(spec, run).finish(parts)


def _finished(bucket: Bucket, manifest: Manifest, plan: Plan, story: list[_Shard], sinks: list[str]) -> Report:
    counts = sum((shard.settled.counts for shard in story), Counts())
    requests = sum(shard.rows.requests for shard in story)
    seconds = _stages(manifest, plan, story)
    vertex = _vertex_seconds(story)
    return Report(
        run=manifest.run,
        state=state_of(counts, {shard.ended.job.state for shard in story}),
        name=manifest.name,
        model=manifest.model,
        requests=requests,
        succeeded=counts.succeeded,
        failed=counts.failed,
        unaccounted=requests - counts.succeeded - counts.failed,
        duplicates=counts.duplicates,
        unknown=counts.unknown,
        unreadable=counts.unreadable,
        jobs=sum(bool(shard.created.name) for shard in story),
        failures=counts.failures,
        tokens=counts.tokens,
        seconds=seconds,
        vertex_seconds=vertex,
        overhead_seconds=round(max(seconds["total"] - vertex, 0.0), 3),
        results=f"{bucket.url}/{names.folder(manifest.run)}",
        sinks=sinks,
        error=next(
            (shard.created.refusal or shard.ended.job.error_message for shard in story if _went_wrong(shard)), ""
        ),
    )


def _went_wrong(shard: _Shard) -> bool:
    return bool(shard.created.refusal or shard.ended.job.error_message)


def state_of(counts: Counts, job_states: set[str]) -> str:
    """Return the final state of a run from its counts; one without any answer ends as its jobs did, if they agree."""
    if not counts.failed:
        return "succeeded"
    if counts.succeeded:
        return "partially_succeeded"
    ends = {"JOB_STATE_CANCELLED": "cancelled", "JOB_STATE_EXPIRED": "expired"}
    return ends.get(job_states.pop(), "failed") if len(job_states) == 1 else "failed"


def _stages(manifest: Manifest, plan: Plan, story: list[_Shard]) -> dict[str, float]:
    """Where the time went: each stage ends when the last shard has passed it. The stages add up to the total."""
    ends = {
        "ingest": plan.at,
        "shard": max(shard.input.at for shard in story),
        "submit": max(shard.created.at for shard in story),
        "vertex": max(shard.ended.job.end_time or shard.created.at for shard in story),
        "poll": max(shard.ended.at for shard in story),
        "collect": max(shard.parts.at for shard in story),
        "parse": max(shard.settled.at for shard in story),
        "deliver": max(shard.delivered for shard in story),
        "finish": facts.now(),
    }
    seconds, before = {}, manifest.created
    for stage, end in ends.items():
        seconds[stage] = round(max(end - before, 0.0), 3)
        before = max(before, end)
    seconds["total"] = round(before - manifest.created, 3)
    return seconds


def _vertex_seconds(story: list[_Shard]) -> float:
    jobs = [shard.ended.job for shard in story if shard.ended.job.create_time and shard.ended.job.end_time]
    if not jobs:
        return 0.0
    return round(max(job.end_time for job in jobs) - min(job.create_time for job in jobs), 3)


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
        error=aborted.reason,
    )
