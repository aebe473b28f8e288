"""Decides what a sweep does, from the state that it has read. Pure: no reads, no writes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from promptmill.config import spans
from promptmill.config.settings import Settings
from promptmill.workers import steps
from promptmill.workers.coordination.open_jobs import slot_of
from promptmill.workers.facts import next_steps
from promptmill.workers.facts.snapshot import AttemptFacts, RunSnapshot
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import Job
from promptmill.workers.supervision import job_slots
from promptmill.workers.supervision.actions import (
    AbandonJob,
    Action,
    AdoptJob,
    CancelAbandoned,
    CancelOrphan,
    ExpireRun,
    ForgetJob,
    HarvestJob,
    ReleaseSlot,
    Report,
    RestoreRun,
    ResumePolling,
    SendStep,
    WarnIncomplete,
    describe_orphan,
)
from promptmill.workers.supervision.job_slots import Reservations

_WATCH_SECONDS = 7 * 86_400.0
"""Seconds for which an abandoned job is checked. Vertex queues a job for at most 72 hours,
and runs it for at most 24."""


@dataclass(frozen=True)
class RunView:
    """The state of one run, as a sweep reads it.

    ``reservations`` are read before the facts, and ``slots`` after them. ``opened_at`` and
    ``cancelled_at`` are times of the bucket's clock, set only if a decision depends on them.
    """

    snapshot: RunSnapshot
    reservations: Reservations = field(default_factory=lambda: Reservations(set(), {}))
    slots: set[str] = field(default_factory=set)
    parked: set[str] = field(default_factory=set)
    is_indexed: bool = True
    opened_at: float | None = None
    cancelled_at: float | None = None

    @property
    def needs_clock(self) -> bool:
        """Whether a decision depends on the time."""
        has_times = self.opened_at is not None or self.cancelled_at is not None
        return has_times or _has_delays(self.snapshot)


@dataclass(frozen=True)
class AttemptJobs:
    """All jobs that Vertex lists for one attempt.

    ``recorded``: the job's name in the fact. None without a fact, empty if the fact has no job.
    """

    run: str
    shard: int
    attempt: int
    jobs: list[Job]
    recorded: str | None
    has_run: bool


@dataclass(frozen=True)
class AbandonedJob:
    """An abandoned job whose attempt is settled.

    ``job``: None if Vertex does not know it. ``by_hand``: an operator ended its attempt.
    ``age``: seconds since it was abandoned.
    """

    run: str
    shard: int
    attempt: int
    marker: str
    by_hand: bool
    age: float
    job: Job | None


def decide_actions(view: RunView, settings: Settings, now: float) -> list[Action]:
    """Return what to do about a run at ``now``, by the bucket's clock."""
    snapshot = view.snapshot
    actions: list[Action] = [
        *_release_ended(view),
        *_warn_incomplete(view, settings, now),
        *_restore_run(view),
        *_report_missing(snapshot),
    ]
    expired = list(_expire_run(view, now))
    abandoned = list(_abandon_jobs(view, settings, now))
    after = _apply_endings(snapshot, is_expired=bool(expired), abandoned=abandoned)
    due = list(_due_actions(after, view, settings, now))
    return [*actions, *expired, *abandoned, *due]


def decide_closed(reservations: Reservations, open_runs: set[str]) -> Iterator[Action]:
    """Release the reservations of closed runs. Read ``reservations`` before ``open_runs``."""
    for slot in sorted(reservations.slots | reservations.jobs.keys()):
        if (run := slot.partition("/")[0]) not in open_runs:
            yield from _release_slot(reservations, run, slot)


def decide_orphans(attempt_jobs: AttemptJobs) -> Iterator[Action]:
    """Adopt a job that no fact names, and cancel duplicates."""
    if attempt_jobs.recorded is not None:
        yield from _cancel_orphans(attempt_jobs, attempt_jobs.recorded)
        return
    oldest = min(attempt_jobs.jobs, key=lambda job: (job.create_time, job.name))
    if attempt_jobs.has_run:
        yield AdoptJob(attempt_jobs.run, attempt_jobs.shard, attempt_jobs.attempt, oldest.name)
    # Vertex remembers the ended jobs of runs that gc has deleted.
    elif not all(job.has_ended for job in attempt_jobs.jobs):
        yield Report(
            attempt_jobs.run, f"job {oldest.name} belongs to a run that is not in the bucket"
        )


def decide_abandoned(abandoned: AbandonedJob) -> Iterator[Action]:
    """Harvest an abandoned job that ended, and cancel one that has not."""
    run, job = abandoned.run, abandoned.job
    if not abandoned.by_hand or abandoned.age > _WATCH_SECONDS:
        yield ForgetJob(run, abandoned.marker)
    elif job and job.has_ended:
        yield HarvestJob(run, abandoned.shard, abandoned.attempt, job)
    elif job:
        yield CancelAbandoned(run, job.name)


def depends_on_opening(snapshot: RunSnapshot) -> bool:
    """Whether a decision depends on when the run was opened."""
    return _is_incomplete(snapshot) or _has_deadline(snapshot)


def depends_on_cancellation(snapshot: RunSnapshot) -> bool:
    """Whether a decision depends on when the run was cancelled."""
    return snapshot.cancelled and bool(steps.cancel.open_attempts(snapshot))


def has_submit_steps(snapshot: RunSnapshot) -> bool:
    """Whether the run has a job to create, which needs a slot."""
    return any(facts.input and not facts.job for facts in snapshot.attempts.values())


def _is_incomplete(snapshot: RunSnapshot) -> bool:
    is_open = snapshot.manifest is not None and snapshot.plan is None
    return is_open and not (snapshot.is_whole or snapshot.aborted)


def _has_deadline(snapshot: RunSnapshot) -> bool:
    has_ended = snapshot.cancelled or snapshot.reported
    return bool(snapshot.manifest and snapshot.manifest.deadline and not has_ended)


def _release_ended(view: RunView) -> Iterator[Action]:
    run = view.snapshot.run
    for (shard, attempt), facts in sorted(view.snapshot.attempts.items()):
        if facts.ended:
            yield from _release_slot(view.reservations, run, slot_of(run, shard, attempt))


def _release_slot(reservations: Reservations, run: str, slot: str) -> Iterator[Action]:
    job, is_taken = reservations.jobs.get(slot), slot in reservations.slots
    if job or is_taken:
        yield ReleaseSlot(run, slot, is_taken, job.name if job else "")


def _warn_incomplete(view: RunView, settings: Settings, now: float) -> Iterator[Action]:
    snapshot, limit = view.snapshot, settings.late_open_seconds
    if view.opened_at is None or not _is_incomplete(snapshot) or now - view.opened_at <= limit:
        return
    message = (
        f"it was not sent in full within {spans.format_duration(limit)}: "
        "send it again with its idempotency key, or cancel it"
    )
    yield WarnIncomplete(snapshot.run, message, len(snapshot.chunks), snapshot.sealed)


def _restore_run(view: RunView) -> Iterator[Action]:
    if view.snapshot.manifest is not None and not view.is_indexed:
        yield RestoreRun(view.snapshot.run, view.snapshot)


def _report_missing(snapshot: RunSnapshot) -> Iterator[Action]:
    if missing := next_steps.missing_chunks(snapshot):
        yield Report(
            snapshot.run,
            f"{len(missing)} of {snapshot.sealed} chunks never arrived "
            f"(the first is number {missing[0]}): "
            "send the run again with its idempotency key",
        )


def _expire_run(view: RunView, now: float) -> Iterator[Action]:
    manifest = view.snapshot.manifest
    if (
        manifest is not None
        and view.opened_at is not None
        and _has_deadline(view.snapshot)
        and now - view.opened_at > manifest.deadline
    ):
        yield ExpireRun(view.snapshot.run)


def _abandon_jobs(view: RunView, settings: Settings, now: float) -> Iterator[AbandonJob]:
    if view.cancelled_at is None or now - view.cancelled_at <= settings.abandon_seconds:
        return
    for shard, attempt in steps.cancel.open_attempts(view.snapshot):
        yield AbandonJob(view.snapshot.run, shard, attempt)


def _apply_endings(
    snapshot: RunSnapshot, *, is_expired: bool, abandoned: Iterable[AbandonJob]
) -> RunSnapshot:
    """Return the snapshot after the run has expired and the jobs are abandoned."""
    ended = {(action.shard, action.attempt) for action in abandoned}
    attempts = {
        attempt_ref: _end_attempt(facts) if attempt_ref in ended else facts
        for attempt_ref, facts in snapshot.attempts.items()
    }
    return msgspec.structs.replace(
        snapshot, cancelled=snapshot.cancelled or is_expired, attempts=attempts
    )


def _end_attempt(facts: AttemptFacts) -> AttemptFacts:
    return msgspec.structs.replace(facts, ended=True)


def _has_delays(snapshot: RunSnapshot) -> bool:
    return any(
        facts.input and not facts.job and snapshot.retry_time(*attempt_ref)
        for attempt_ref, facts in snapshot.attempts.items()
    )


def _due_actions(
    snapshot: RunSnapshot, view: RunView, settings: Settings, now: float
) -> Iterator[Action]:
    due = [
        step
        for step in next_steps.next_steps(snapshot)
        if step.id not in view.parked and not _is_delayed(snapshot, step, now)
    ]
    submit_steps = [step for step in due if step.task == "submit"]
    allowed = job_slots.select_with_slot(submit_steps, view.slots, settings.max_open_jobs)
    if steps.cancel.is_due(snapshot):
        due.append(Step("cancel", snapshot.run))
    for step in due:
        if step.task == "poll":
            yield ResumePolling(snapshot.run, step)
        elif step.task != "submit" or step in allowed:
            yield SendStep(snapshot.run, step)


def _is_delayed(snapshot: RunSnapshot, step: Step, now: float) -> bool:
    return step.task == "submit" and snapshot.retry_time(*step.indices) > now


def _cancel_orphans(attempt_jobs: AttemptJobs, recorded: str) -> Iterator[Action]:
    for job in attempt_jobs.jobs:
        if job.name == recorded:
            continue
        if job.has_ended:
            orphan = describe_orphan(job.name, recorded)
            yield Report(attempt_jobs.run, f"{orphan}, has ended and is billed")
        else:
            yield CancelOrphan(attempt_jobs.run, job.name, recorded)
