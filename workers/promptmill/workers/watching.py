"""Keeps one chain of ``poll`` tasks alive while there are open jobs, and turns what it sees into facts."""

import secrets
import sys
import time
from typing import NamedTuple

import structlog

from promptmill.config import names
from promptmill.workers import facts, progress
from promptmill.workers.facts import Created, Ended, RunFacts
from promptmill.workers.flow import Flow
from promptmill.workers.notes import OpenJob
from promptmill.workers.ports import Job
from promptmill.workers.services import Services
from promptmill.workers.steps import poll
from promptmill.workers.steps.step import Step, Wait

_log = structlog.get_logger(__name__)
_GRACE = 10.0
"""Seconds after which a chain that should have looked is taken for dead."""
_LOOK = 15.0
"""Seconds after which a look that has not come to its end is taken for that of a dead worker. One that only takes longer
is overtaken by another chain, which costs a list call."""


def may_create(services: Services, run: str, index: int, attempt: int) -> bool | Wait:
    """Take a slot among the open jobs, and a turn to create one.

    A step without a slot is left to a later sweep: waiting in a queue, thousands would fill one worker's memory.
    """
    settings, notes = services.settings, services.notes
    if not notes.take_slot(settings.parent, _slot(run, index, attempt), settings.max_open_jobs):
        return False
    seconds = notes.take_turn(settings.parent, settings.max_creates_per_minute)
    return Wait(min(seconds, 60.0)) if seconds else True


def with_room(services: Services, submits: list[Step]) -> list[Step]:
    """Return those of the ``submit`` steps that have a slot, or for which there is one."""
    held = services.notes.slots(services.settings.parent)
    free = services.settings.max_open_jobs - len(held)
    having = [step for step in submits if _slot(step.run, *step.place) in held]
    return having + [step for step in submits if step not in having][: max(free, 0)]


def free_slots(services: Services, held: set[str], known: RunFacts) -> None:
    """Free those of the slots ``held`` whose job has ended by the facts of its run: a crash may have kept them."""
    for place, shard in sorted(known.shards.items()):
        if shard.ended and (slot := _slot(known.run, *place)) in held:
            services.notes.free_slot(services.settings.parent, slot)


def free_slots_but(services: Services, held: set[str], open_runs: set[str]) -> None:
    """Free those of the slots ``held`` whose run is done; they must have been read before the ``open_runs``."""
    for slot in sorted(held):
        if slot.partition("/")[0] not in open_runs:
            services.notes.free_slot(services.settings.parent, slot)


def _slot(run: str, index: int, attempt: int) -> str:
    return f"{run}/{index}/{attempt}"


def watch(services: Services, flow: Flow, run: str, index: int, attempt: int, made: Created) -> list[Step]:
    """See that a job is polled; one that was never created has ended already, and is to be collected."""
    parent = services.settings.parent
    if not made.name:
        services.notes.free_slot(parent, _slot(run, index, attempt))
        return [Step("collect", run, (index, attempt))]
    # In this order: a look that finds the job ended gives back a slot that was taken before the job could be seen.
    services.notes.take_slot(parent, _slot(run, index, attempt), sys.maxsize)
    services.notes.add_job(parent, OpenJob(made.name, run, index, attempt))
    start(services, flow)
    return []


def start(services: Services, flow: Flow) -> bool:
    """Start a chain, unless one is alive."""
    chain = secrets.token_hex(4)
    if not services.notes.take_poll(services.settings.parent, chain, 0, _GRACE):
        return False
    flow.enqueue_poll(chain)
    return True


def resume(services: Services, flow: Flow, step: Step) -> list[Step]:
    """See that the job of a ``poll`` step is on the list of open jobs, and that a chain looks at it."""
    index, attempt = step.place
    made = facts.get(services.bucket, names.shard(step.run, index, attempt) + "job.json", Created)
    known = {job.name for job in services.notes.open_jobs(services.settings.parent)}
    if made.name not in known:
        return watch(services, flow, step.run, index, attempt, made) or [step]
    return [step] if start(services, flow) else []


def is_ours(services: Services, chain: str, look: int) -> bool:
    """Whether it is this look's turn; any other that turns up late, or again, ends here."""
    return services.notes.take_poll(services.settings.parent, chain, look, _LOOK)


class Seen(NamedTuple):
    """What is to be done for the jobs that ended, and the jobs that did not."""

    ended: list[Step]
    waiting: list[Job]


def look(services: Services) -> Seen:
    """Look at all open jobs; write down those that ended, and take them off the list."""
    parent = services.settings.parent
    open_jobs = {job.name: job for job in services.notes.open_jobs(parent)}
    seen = poll.look(services.jobs, names.mill(services.bucket.url), open_jobs)
    for name in seen.lost:
        _log.warning("Vertex does not know a job", job=name, run=open_jobs[name].run)
    for name, error in seen.unseen.items():
        _log.warning("an open job could not be looked at", job=name, run=open_jobs[name].run, error=error)
    for job in seen.waiting:
        _note_state(services, open_jobs[job.name], job)
    return Seen([_end(services, open_jobs[job.name], job) for job in seen.ended], seen.waiting)


def pause(services: Services, chain: str, look: int, waiting: list[Job]) -> Wait | None:
    """Return when to look again, and keep the chain alive until then; None when a twin of this look goes on."""
    settings = services.settings
    seconds = poll.interval(waiting, time.time(), settings.poll_interval, settings.poll_max_interval)
    return Wait(seconds) if services.notes.pass_poll(settings.parent, chain, look, seconds + _GRACE) else None


def is_over(services: Services) -> bool:
    """End the chain when no job is open."""
    return services.notes.end_poll(services.settings.parent)


def _note_state(services: Services, known: OpenJob, job: Job) -> None:
    if known.state != job.state:
        services.notes.add_job(services.settings.parent, known._replace(state=job.state))
        progress.watched(services.index, known, job)


def _end(services: Services, known: OpenJob, job: Job) -> Step:
    folder = names.shard(known.run, known.shard, known.attempt)
    facts.put(services.bucket, folder + "ended.json", Ended(job, facts.now()))
    progress.watched(services.index, known, job)
    services.notes.free_slot(services.settings.parent, _slot(known.run, known.shard, known.attempt))
    services.notes.remove_job(services.settings.parent, job.name)
    _log.info("job ended", run=known.run, shard=known.shard, job=job.name, state=job.state)
    return Step("collect", known.run, (known.shard, known.attempt))
