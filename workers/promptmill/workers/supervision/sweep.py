"""Compares what is with what should be: sends steps that stand still, brings back what Redis lost, finds stray jobs."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from promptmill.config import names
from promptmill.config.errors import NotFound, Permanent
from promptmill.workers import steps
from promptmill.workers.coordination import progress
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import dead_letters, next_steps, records
from promptmill.workers.facts.records import Created
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import Bucket, Job
from promptmill.workers.services import Services
from promptmill.workers.supervision import abandoned_jobs, alarms, lost_jobs, polling

_ORPHAN_CHECK_SECONDS = 600.0
"""Seconds between two looks for stray jobs."""


class Finding(NamedTuple):
    """What was found about a run (or, when empty, about all), and what was done."""

    run: str
    message: str


def sweep_runs(
    services: Services, dispatcher: Dispatcher | None, *, thorough: bool = False
) -> Iterator[Finding]:
    """Look at every open run; without a ``dispatcher`` only say what would be done.

    ``thorough`` looks at runs and stray jobs however recently they were looked at.
    """
    reservations = polling.load_reservations(services)
    parked = dead_letters.parked_steps(services.bucket)
    open_runs = [
        stored.name.removeprefix(names.OPEN) for stored in services.bucket.list(names.OPEN)
    ]
    for run in open_runs:
        if thorough or services.claims.try_claim(
            f"{run}.sweep", services.settings.reconcile_interval / 2
        ):
            yield from _sweep_run(
                services, dispatcher, run, reservations, parked, thorough=thorough
            )
    if dispatcher:
        polling.release_closed_runs(services, reservations, set(open_runs))
    if thorough:
        yield from (
            Finding(job.run, _lost_job_text(job)) for job in lost_jobs.find_lost_jobs(services)
        )
    if thorough or services.claims.try_claim("strays", _ORPHAN_CHECK_SECONDS):
        yield from _reconcile_orphans(services, dispatcher)
        if dispatcher:
            yield from map(Finding._make, abandoned_jobs.check_abandoned(services, dispatcher))


def _sweep_run(
    services: Services,
    dispatcher: Dispatcher | None,
    run: str,
    reservations: polling.Reservations,
    parked: set[str],
    *,
    thorough: bool,
) -> Iterator[Finding]:
    """Look at one run; what is none, or has facts that cannot be read, must not keep others from being looked at."""
    try:
        snapshot = services.load_snapshot(run)
        if dispatcher:
            polling.release_ended_jobs(services, reservations, snapshot)
        if (message := alarms.check_run(services, snapshot)) and thorough:
            yield Finding(run, message)
        yield from _repair_run(services, dispatcher, snapshot, parked)
    except (Permanent, ValueError) as error:
        yield Finding(run, f"cannot be looked at: {error}")


def _repair_run(
    services: Services, dispatcher: Dispatcher | None, snapshot: RunSnapshot, parked: set[str]
) -> Iterator[Finding]:
    if dispatcher and progress.restore_if_lost(services.index, services.bucket, snapshot):
        yield Finding(snapshot.run, "written into Redis anew")
    if missing := next_steps.missing_chunks(snapshot):
        yield Finding(snapshot.run, _missing_chunks_text(missing, snapshot))
    if steps.cancel.is_past_deadline(services.bucket, snapshot):
        yield _expire_run(services, dispatcher, snapshot)
    for message in abandoned_jobs.abandon_jobs(services, dispatcher, snapshot):
        yield Finding(snapshot.run, message)
    for step in _due_steps(services, snapshot, parked):
        if dispatcher is None:
            yield Finding(snapshot.run, f"would send {step.id}")
        elif step.task == "poll":
            yield from (
                Finding(snapshot.run, f"sent {sent.id}")
                for sent in polling.resume_polling(services, dispatcher, step)
            )
        elif dispatcher.enqueue_stalled([step]):
            yield Finding(snapshot.run, f"sent {step.id}")


def _expire_run(
    services: Services, dispatcher: Dispatcher | None, snapshot: RunSnapshot
) -> Finding:
    if dispatcher is None:
        return Finding(snapshot.run, "would end it: its deadline has passed")
    steps.cancel.expire_run(services.run_folder(snapshot.run))
    snapshot.cancelled = True
    services.index.record_cancelling(snapshot.run)
    services.index.record_error(snapshot.run, "the run's deadline passed")
    return Finding(snapshot.run, "ends, as its deadline has passed")


def _due_steps(services: Services, snapshot: RunSnapshot, parked: set[str]) -> list[Step]:
    due = [step for step in next_steps.next_steps(snapshot) if step.id not in parked]
    submit_steps = [step for step in due if step.task == "submit"]
    if submit_steps:
        allowed_steps = polling.select_with_slot(services, submit_steps)
        due = [step for step in due if step.task != "submit" or step in allowed_steps]
    if steps.cancel.is_due(snapshot):
        due.append(Step("cancel", snapshot.run))
    return due


def _missing_chunks_text(missing: list[int], snapshot: RunSnapshot) -> str:
    return (
        f"{len(missing)} of {snapshot.sealed} chunks never arrived (the first is number {missing[0]}): "
        "send the run again with its idempotency key"
    )


def _lost_job_text(job: OpenJob) -> str:
    return f"Vertex does not know job {job.name} any more: say what is to become of it, with promptmill lost-jobs"


def _reconcile_orphans(services: Services, dispatcher: Dispatcher | None) -> Iterator[Finding]:
    """Find jobs of this mill that no fact tells of: lost answers to adopt, and duplicates to cancel."""
    jobs: dict[tuple[str, int, int], list[Job]] = defaultdict(list)
    for job in services.jobs.list(
        f'labels.promptmill="{names.deployment_id(services.bucket.url)}"'
    ):
        if (attempt_ref := _parse_labels(job)) is not None:
            jobs[attempt_ref].append(job)
    for (run, shard, attempt), attempt_jobs in sorted(jobs.items()):
        fact = names.shard(run, shard, attempt) + "job.json"
        recorded = _find_created(services.bucket, fact)
        if recorded is None:
            yield from _adopt_job(services, dispatcher, run, fact, attempt_jobs)
        else:
            yield from _cancel_duplicates(services, dispatcher, run, recorded.name, attempt_jobs)


def _parse_labels(job: Job) -> tuple[str, int, int] | None:
    labels = job.labels
    try:
        return names.check_run(labels["run"]), int(labels["shard"]), int(labels["attempt"])
    except (KeyError, ValueError):
        return None


def _find_created(bucket: Bucket, fact: str) -> Created | None:
    try:
        return records.get_fact(bucket, fact, Created)
    except NotFound:
        return None


def _adopt_job(
    services: Services, dispatcher: Dispatcher | None, run: str, fact: str, attempt_jobs: list[Job]
) -> Iterator[Finding]:
    oldest = min(attempt_jobs, key=lambda job: (job.create_time, job.name))
    if services.bucket.find(names.manifest(run)) is None:
        if all(
            job.has_ended for job in attempt_jobs
        ):  # as those of runs that gc has deleted, which Vertex remembers for longer
            return
        yield Finding(run, f"job {oldest.name} belongs to a run that the bucket does not know")
    elif dispatcher is None:
        yield Finding(run, f"would adopt job {oldest.name}")
    else:
        records.create_fact(services.bucket, fact, Created(oldest.name, records.current_time()))
        yield Finding(run, f"adopted job {oldest.name}")


def _cancel_duplicates(
    services: Services,
    dispatcher: Dispatcher | None,
    run: str,
    recorded_name: str,
    attempt_jobs: list[Job],
) -> Iterator[Finding]:
    """Stop what nobody waits for; of a job that has ended already it can only be told that it is paid for."""
    for job in attempt_jobs:
        if job.name == recorded_name:
            continue
        description = f"{job.name}, {f'a duplicate of {recorded_name}' if recorded_name else 'which nobody waits for'}"
        if job.has_ended:
            yield Finding(run, f"{description}, has ended and is paid for")
            continue
        if dispatcher:
            services.jobs.cancel(job.name)
        yield Finding(run, f"{'cancelled' if dispatcher else 'would cancel'} {description}")
