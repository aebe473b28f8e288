"""Ends a run: finishes its sinks, writes its report, removes it from the open list.

Users are notified before the run is removed from that list, so the sweep repeats it after a
crash in between. A run with callbacks stays on the list until they are sent.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, TypeVar

import msgspec

from promptmill.config import spans
from promptmill.config.errors import Transient
from promptmill.producers.contract.failure_reasons import TRANSIENT, FailureReason
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.status import Report
from promptmill.producers.pricing.cost import Cost
from promptmill.workers.attempts import answer_reuse
from promptmill.workers.costs import usage
from promptmill.workers.facts import records
from promptmill.workers.facts.fact import Fact, read_facts
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
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder
from promptmill.workers.output.run_warnings import list_warnings
from promptmill.workers.steps.deliver import OpenSink, part_name

T = TypeVar("T", bound=msgspec.Struct)
_PLANNED_LATE = (
    "run {run} was planned while it was being aborted; it ends when its shards are settled"
)


def finish(
    run: RunFolder,
    open_sink: OpenSink,
    attempt_refs: list[tuple[int, int]],
    notify: Callable[[Report], object] = lambda _: None,
) -> Report:
    """Write the report of a run whose attempts, as (shard, attempt), are all delivered."""
    manifest = run.manifest.get()
    report = run.report.get_or_create(partial(_make_report, run, open_sink, manifest, attempt_refs))
    notify(report)
    if not manifest.has_callbacks:
        run.bucket.delete(run.open_marker)
    return report


def _make_report(
    run: RunFolder, open_sink: OpenSink, manifest: Manifest, attempt_refs: list[tuple[int, int]]
) -> Report:
    report = _build_report(run, open_sink, manifest, attempt_refs)
    if report.succeeded:
        answer_reuse.mark_done(run.bucket, manifest)
    return report


def _build_report(
    run: RunFolder, open_sink: OpenSink, manifest: Manifest, attempt_refs: list[tuple[int, int]]
) -> Report:
    if aborted := _find_abort(run):
        return _report_unsubmitted(run, manifest, aborted)
    plan = run.plan.get()
    if len({shard for shard, _ in attempt_refs}) < len(plan.shards):
        raise Transient(_PLANNED_LATE.format(run=run.id))
    attempt_facts = _load_attempts(run, attempt_refs, len(manifest.sinks))
    parts = [part for attempt in attempt_facts for part in attempt.part_names]
    sinks = [open_sink(spec, run.id).finish(parts) for spec in manifest.sinks]
    report = _report_submitted(run, manifest, plan, attempt_facts, sinks)
    report = _apply_cancellation(report, run.cancelled.find(), manifest.deadline)
    return _note_abandoned_jobs(report, run, attempt_facts)


def _apply_cancellation(report: Report, cancellation: Cancelled | None, deadline: float) -> Report:
    """Set the state of the report to ``expired`` or ``cancelled`` if that cost the run rows."""
    if cancellation and cancellation.reason and report.failures.keys() & TRANSIENT:
        error = f"the run's deadline of {spans.format_duration(deadline)} passed"
        return msgspec.structs.replace(report, state="expired", error=error)
    if cancellation and not cancellation.reason and report.failed:
        return msgspec.structs.replace(report, state="cancelled")
    return report


def _note_abandoned_jobs(
    report: Report, run: RunFolder, attempt_facts: list["_AttemptFacts"]
) -> Report:
    """Add to the report where late answers of abandoned jobs will be stored."""
    abandoned_count = sum(attempt.ended.by_hand for attempt in attempt_facts)
    if not abandoned_count:
        return report
    late_url = f"{run.bucket.url}/{run.late_folder}"
    note = f"abandoned jobs: {abandoned_count}; their late answers will be stored in {late_url}"
    return msgspec.structs.replace(report, error="; ".join(filter(None, (report.error, note))))


def _find_abort(run: RunFolder) -> Aborted | None:
    """Return why the run was aborted; None if it was not, or had shards before."""
    aborted = run.aborted.find()
    has_shards = aborted and run.plan.create_or_get(Plan([], records.current_time())).shards
    return None if has_shards else aborted


class _AttemptFacts(NamedTuple):
    shard: int
    number: int
    input: Input
    created: Created
    ended: Ended
    parts: Parts
    settled: Settled
    delivered_at: float

    @property
    def part_names(self) -> list[str]:
        """The parts that its sinks have, by the names of ``deliver``."""
        return [part_name(self.shard, self.number, part) for part in range(len(self.settled.files))]

    @property
    def error(self) -> str:
        """Why it has no job, or the error of its job, or empty."""
        return self.created.refusal or self.ended.job.error_message


def _load_attempts(
    run: RunFolder, attempt_refs: list[tuple[int, int]], sinks: int
) -> list[_AttemptFacts]:
    """Read the facts of all attempts, one kind at a time."""
    attempts = [run.attempt(*attempt_ref) for attempt_ref in attempt_refs]

    def read_each(select: Callable[[AttemptFolder], Fact[T]]) -> list[T]:
        return list(read_facts(run.bucket, map(select, attempts)))

    settled = read_each(lambda attempt: attempt.settled)
    rows = zip(
        attempt_refs,
        read_each(lambda attempt: attempt.input),
        read_each(lambda attempt: attempt.job),
        read_each(lambda attempt: attempt.ended),
        read_each(lambda attempt: attempt.parts),
        settled,
        _delivery_times(attempts, settled, sinks),
        strict=True,
    )
    return [_AttemptFacts(*attempt_ref, *fact_values) for attempt_ref, *fact_values in rows]


def _delivery_times(
    attempts: list[AttemptFolder], settled: list[Settled], sinks: int
) -> Iterator[float]:
    """Yield the time of the last delivery of each attempt."""
    if not attempts:
        return
    delivered_facts = [
        _delivered_facts(attempt, sinks, len(settled_attempt.files))
        for attempt, settled_attempt in zip(attempts, settled, strict=True)
    ]
    deliveries = read_facts(attempts[0].bucket, chain.from_iterable(delivered_facts))
    for settled_attempt, facts in zip(settled, delivered_facts, strict=True):
        times = (delivered.at for delivered in islice(deliveries, len(facts)))
        yield max(times, default=settled_attempt.at)


def _delivered_facts(attempt: AttemptFolder, sinks: int, parts: int) -> list[Fact[Delivered]]:
    return [attempt.delivered(sink, part) for sink in range(sinks) for part in range(parts)]


def _report_submitted(
    run: RunFolder,
    manifest: Manifest,
    plan: Plan,
    attempt_facts: list[_AttemptFacts],
    sinks: list[str],
) -> Report:
    counts = sum((attempt.settled.counts for attempt in attempt_facts), Counts())
    requests = sum(shard.requests for shard in plan.shards)
    state = final_state(counts, {attempt.ended.job.state for attempt in attempt_facts})
    seconds = _stage_seconds(manifest, plan, attempt_facts)
    busy_seconds = _vertex_seconds(attempt_facts)
    over_budget = FailureReason.OVER_BUDGET in counts.failures
    return msgspec.structs.replace(
        _report_counts(run, manifest, state, counts, requests),
        jobs=sum(bool(attempt.created.name) for attempt in attempt_facts),
        seconds=seconds,
        vertex_seconds=busy_seconds,
        overhead_seconds=round(max(seconds["total"] - busy_seconds, 0.0), 3),
        sinks=sinks,
        cost=usage.run_cost(plan.money, counts.billed, over_budget=over_budget),
        deduplicated=sum(attempt.settled.deduplicated for attempt in attempt_facts),
        reused=sum(attempt.settled.reused for attempt in attempt_facts),
        error=next((attempt.error for attempt in attempt_facts if attempt.error), ""),
        warnings=[*plan.warnings, *list_warnings(manifest.model, counts, run.url)],
    )


def _report_counts(
    run: RunFolder, manifest: Manifest, state: str, counts: Counts, requests: int
) -> Report:
    """Return a report of the rows of a run, without its jobs, times, sinks and cost."""
    return Report(
        run=manifest.run,
        state=state,
        name=manifest.name,
        model=manifest.model,
        requests=requests,
        succeeded=counts.succeeded,
        failed=counts.failed,
        unaccounted=requests - counts.succeeded - counts.failed,
        duplicates=counts.duplicates,
        unknown=counts.unknown,
        unreadable=counts.unreadable,
        jobs=0,
        failures=counts.failures,
        tokens=counts.tokens,
        seconds={},
        vertex_seconds=0.0,
        overhead_seconds=0.0,
        results=run.url,
        sinks=[],
        unkept=counts.unkept,
        warnings=list_warnings(manifest.model, counts, run.url),
    )


def final_state(counts: Counts, job_states: set[str]) -> str:
    """Return the final state of a run from its counts.

    A run without any answer ends like its jobs if these all have the same state.
    """
    if not counts.failed:
        return "succeeded"
    if counts.succeeded:
        return "partially_succeeded"
    ends = {"JOB_STATE_CANCELLED": "cancelled", "JOB_STATE_EXPIRED": "expired"}
    return ends.get(job_states.pop(), "failed") if len(job_states) == 1 else "failed"


def _stage_seconds(
    manifest: Manifest, plan: Plan, attempt_facts: list[_AttemptFacts]
) -> dict[str, float]:
    """Return the seconds in each stage, until its last shard has passed. They sum to ``total``."""
    seconds: defaultdict[str, float] = defaultdict(float, ingest=plan.at - manifest.created)
    stage_start = plan.at
    for number in sorted({attempt.number for attempt in attempt_facts}):
        shards = [attempt for attempt in attempt_facts if attempt.number == number]
        for stage, end in _stage_ends(shards):
            seconds[stage] += max(end - stage_start, 0.0)
            stage_start = max(stage_start, end)
    now = records.current_time()
    seconds.update({"finish": now - stage_start, "total": now - manifest.created})
    return {stage: round(max(time, 0.0), 3) for stage, time in seconds.items()}


def _stage_ends(attempt_facts: list[_AttemptFacts]) -> Iterator[tuple[str, float]]:
    yield "shard", max(attempt.input.at for attempt in attempt_facts)
    yield "submit", max(attempt.created.at for attempt in attempt_facts)
    yield (
        "vertex",
        max(attempt.ended.job.end_time or attempt.created.at for attempt in attempt_facts),
    )
    yield "poll", max(attempt.ended.at for attempt in attempt_facts)
    yield "collect", max(attempt.parts.at for attempt in attempt_facts)
    yield "parse", max(attempt.settled.at for attempt in attempt_facts)
    yield "deliver", max(attempt.delivered_at for attempt in attempt_facts)


def _vertex_seconds(attempt_facts: list[_AttemptFacts]) -> float:
    """Return the seconds during which at least one job existed, from creation to end."""
    total = busy_until = 0.0
    for start, end in sorted(
        (attempt.ended.job.create_time, attempt.ended.job.end_time) for attempt in attempt_facts
    ):
        if start and end > busy_until:
            total += end - max(start, busy_until)
            busy_until = end
    return round(total, 3)


def _report_unsubmitted(run: RunFolder, manifest: Manifest, aborted: Aborted) -> Report:
    seconds = round(max(aborted.at - manifest.created, 0.0), 3)
    limit_usd = manifest.max_cost_usd or None
    return msgspec.structs.replace(
        _report_counts(run, manifest, aborted.state, Counts(), 0),
        seconds={"total": seconds},
        overhead_seconds=seconds,
        cost=Cost(usd=0.0, over_budget=aborted.over_budget, limit_usd=limit_usd),
        error=aborted.reason,
    )
