"""Compares what is with what should be: sends steps that stand still, brings back what Redis lost, finds stray jobs."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from promptmill.config import names
from promptmill.config.errors import NotFound, Permanent
from promptmill.config.queues import takeover
from promptmill.config.settings import Settings
from promptmill.workers import steps
from promptmill.workers.coordination import progress
from promptmill.workers.coordination.notes import OpenJob
from promptmill.workers.dispatch import Flow
from promptmill.workers.facts import dead_letters, next_steps, records
from promptmill.workers.facts.records import Created
from promptmill.workers.facts.snapshot import RunFacts
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import Bucket, Job
from promptmill.workers.services import Services, build
from promptmill.workers.supervision import abandoned_jobs, alarms, lost_jobs, polling, pools

_STRAYS = 600.0
"""Seconds between two looks for stray jobs."""


class Finding(NamedTuple):
    """What was found about a run (or, when empty, about all), and what was done."""

    run: str
    words: str


def sweep(services: Services, flow: Flow | None, *, thorough: bool = False) -> Iterator[Finding]:
    """Look at every open run; without a ``flow`` only say what would be done.

    ``thorough`` looks at runs and stray jobs however recently they were looked at.
    """
    held = polling.held(services)
    parked = dead_letters.steps(services.bucket)
    open_runs = [stored.name.removeprefix(names.OPEN) for stored in services.bucket.list(names.OPEN)]
    for run in open_runs:
        if thorough or services.notes.claim(f"{run}.sweep", services.settings.reconcile_interval / 2):
            yield from _sweep_run(services, flow, run, held, parked, thorough=thorough)
    if flow:
        polling.let_go_but(services, held, set(open_runs))
    if thorough:
        yield from (Finding(job.run, _words_of_lost(job)) for job in lost_jobs.find(services))
    if thorough or services.notes.claim("strays", _STRAYS):
        yield from _strays(services, flow)
        if flow:
            yield from map(Finding._make, abandoned_jobs.look_after(services, flow))


def _sweep_run(
    services: Services, flow: Flow | None, run: str, held: polling.Held, parked: set[str], *, thorough: bool
) -> Iterator[Finding]:
    """Look at one run; what is none, or has facts that cannot be read, must not keep others from being looked at."""
    try:
        known = services.known(run)
        if flow:
            polling.let_go(services, held, known)
        if (words := alarms.note_run(services, known)) and thorough:
            yield Finding(run, words)
        yield from _look_at(services, flow, known, parked)
    except (Permanent, ValueError) as error:
        yield Finding(run, f"cannot be looked at: {error}")


def _look_at(services: Services, flow: Flow | None, known: RunFacts, parked: set[str]) -> Iterator[Finding]:
    if flow and progress.remember(services.index, services.bucket, known):
        yield Finding(known.run, "written into Redis anew")
    if missing := next_steps.missing_chunks(known):
        yield Finding(known.run, _words_of_missing(missing, known))
    if steps.cancel.is_past_deadline(services.bucket, known):
        yield _expire(services, flow, known)
    for words in abandoned_jobs.give_up(services, flow, known):
        yield Finding(known.run, words)
    for step in _due(services, known, parked):
        if flow is None:
            yield Finding(known.run, f"would send {step.id}")
        elif step.task == "poll":
            yield from (Finding(known.run, f"sent {sent.id}") for sent in polling.resume(services, flow, step))
        elif flow.enqueue_stalled([step]):
            yield Finding(known.run, f"sent {step.id}")


def _expire(services: Services, flow: Flow | None, known: RunFacts) -> Finding:
    if flow is None:
        return Finding(known.run, "would end it: its deadline has passed")
    steps.cancel.expire(services.bucket, known.run)
    known.cancelled = True
    services.index.note_cancelling(known.run)
    services.index.note_error(known.run, "the run's deadline passed")
    return Finding(known.run, "ends, as its deadline has passed")


def _due(services: Services, known: RunFacts, parked: set[str]) -> list[Step]:
    due = [step for step in next_steps.next_steps(known) if step.id not in parked]
    submits = [step for step in due if step.task == "submit"]
    if submits:
        room = polling.with_room(services, submits)
        due = [step for step in due if step.task != "submit" or step in room]
    if steps.cancel.is_due(known):
        due.append(Step("cancel", known.run))
    return due


def _words_of_missing(missing: list[int], known: RunFacts) -> str:
    return (
        f"{len(missing)} of {known.sealed} chunks never arrived (the first is number {missing[0]}): "
        "send the run again with its idempotency key"
    )


def _words_of_lost(job: OpenJob) -> str:
    return f"Vertex does not know job {job.name} any more: say what is to become of it, with promptmill lost-jobs"


def _strays(services: Services, flow: Flow | None) -> Iterator[Finding]:
    """Find jobs of this mill that no fact tells of: lost answers to adopt, and duplicates to cancel."""
    jobs: dict[tuple[str, int, int], list[Job]] = defaultdict(list)
    for job in services.jobs.list(f'labels.promptmill="{names.mill(services.bucket.url)}"'):
        if (place := _place(job)) is not None:
            jobs[place].append(job)
    for (run, index, attempt), found in sorted(jobs.items()):
        fact = names.shard(run, index, attempt) + "job.json"
        ours = _created(services.bucket, fact)
        if ours is None:
            yield from _adopt(services, flow, run, fact, found)
        else:
            yield from _cancel_others(services, flow, run, ours.name, found)


def _place(job: Job) -> tuple[str, int, int] | None:
    labels = job.labels
    try:
        return names.check_run(labels["run"]), int(labels["shard"]), int(labels["attempt"])
    except (KeyError, ValueError):
        return None


def _created(bucket: Bucket, fact: str) -> Created | None:
    try:
        return records.get(bucket, fact, Created)
    except NotFound:
        return None


def _adopt(services: Services, flow: Flow | None, run: str, fact: str, found: list[Job]) -> Iterator[Finding]:
    oldest = min(found, key=lambda job: (job.create_time, job.name))
    if services.bucket.find(names.manifest(run)) is None:
        if all(job.ended for job in found):  # as those of runs that gc has deleted, which Vertex remembers for longer
            return
        yield Finding(run, f"job {oldest.name} belongs to a run that the bucket does not know")
    elif flow is None:
        yield Finding(run, f"would adopt job {oldest.name}")
    else:
        records.put(services.bucket, fact, Created(oldest.name, records.now()))
        yield Finding(run, f"adopted job {oldest.name}")


def _cancel_others(services: Services, flow: Flow | None, run: str, ours: str, found: list[Job]) -> Iterator[Finding]:
    """Stop what nobody waits for; of a job that has ended already it can only be told that it is paid for."""
    for job in found:
        if job.name == ours:
            continue
        what = f"{job.name}, {f'a duplicate of {ours}' if ours else 'which nobody waits for'}"
        if job.ended:
            yield Finding(run, f"{what}, has ended and is paid for")
            continue
        if flow:
            services.jobs.cancel(job.name)
        yield Finding(run, f"{'cancelled' if flow else 'would cancel'} {what}")


def reconcile(settings: Settings, *, dry_run: bool = False) -> Iterator[Finding]:
    """Sweep now, from outside a worker: the entry point of the command line. Changes nothing when ``dry_run``."""
    from promptmill.workers.app import make_app

    services = build(settings)
    flow = None if dry_run else Flow(make_app(settings, build), services.notes, takeover(settings))
    yield from sweep(services, flow, thorough=True)
    if pools.is_due(services):
        if flow:
            flow.enqueue_pool()
        yield Finding(
            "", f"{'had' if flow else 'would have'} pools looked after: what was collected is stored and cut into runs"
        )
