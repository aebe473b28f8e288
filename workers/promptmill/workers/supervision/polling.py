"""Keeps one chain of ``poll`` tasks alive while there are open jobs, and turns what it sees into facts."""

import secrets
import sys
import time
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple

import structlog

from promptmill.config import names
from promptmill.config.errors import Transient
from promptmill.workers.coordination import progress
from promptmill.workers.coordination.notes import OpenJob
from promptmill.workers.dispatch import Flow
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Created, Ended
from promptmill.workers.facts.snapshot import RunFacts
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.ports.google import Job
from promptmill.workers.runtime import heartbeat
from promptmill.workers.services import Services
from promptmill.workers.steps import cancel, poll, submit
from promptmill.workers.supervision import alarms

_log = structlog.get_logger(__name__)
_BEGIN = 10.0
"""Seconds that the first look of a chain may be on its way; were it less, chains would overtake each other for ever on a
machine that is busy, and none ever look."""
_GRACE = 1.5
"""Seconds after which a look that is due and has not begun is taken for that of a dead worker. A live one that is only
late ends when it sees that another chain has overtaken it, which costs a message."""
_LOOK = 3.0
"""Seconds after which a look that is not renewed any more is taken for that of a dead worker."""


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


class Held(NamedTuple):
    """What is noted: the slots that are taken, and the open jobs by their slots."""

    slots: set[str]
    jobs: dict[str, OpenJob]


def held(services: Services) -> Held:
    """Return what is noted now."""
    open_jobs = services.notes.open_jobs(services.settings.parent)
    by_slot = {_slot(job.run, job.shard, job.attempt): job for job in open_jobs}
    return Held(services.notes.slots(services.settings.parent), by_slot)


def let_go(services: Services, held: Held, known: RunFacts) -> None:
    """Let go of what is held of jobs that have ended by the facts of their run: a crash may have kept it."""
    for place, shard in sorted(known.shards.items()):
        if shard.ended:
            _let_go(services, held, _slot(known.run, *place))


def let_go_but(services: Services, held: Held, open_runs: set[str]) -> None:
    """Let go of what is held of runs that are done; it must have been read before the ``open_runs``."""
    for slot in sorted(held.slots | held.jobs.keys()):
        if slot.partition("/")[0] not in open_runs:
            _let_go(services, held, slot)


def _let_go(services: Services, held: Held, slot: str) -> None:
    if slot in held.slots:
        services.notes.free_slot(services.settings.parent, slot)
    if job := held.jobs.get(slot):
        services.notes.remove_job(services.settings.parent, job.name)


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
    if not services.notes.take_poll(services.settings.parent, chain, 0, _BEGIN):
        return False
    flow.enqueue_poll(chain)
    return True


def revive(services: Services, flow: Flow) -> None:
    """Start a chain if jobs are open and none is alive."""
    if services.notes.stands_still(services.settings.parent) and start(services, flow):
        _log.warning("nobody looked at the open jobs any more: polling goes on")


def resume(services: Services, flow: Flow, step: Step) -> list[Step]:
    """See that the job of a ``poll`` step is on the list of open jobs, and that a chain looks at it."""
    index, attempt = step.place
    made = records.get(services.bucket, names.shard(step.run, index, attempt) + "job.json", Created)
    known = {job.name for job in services.notes.open_jobs(services.settings.parent)}
    if made.name not in known:
        return watch(services, flow, step.run, index, attempt, made) or [step]
    return [step] if start(services, flow) else []


def is_ours(services: Services, chain: str, look: int) -> bool:
    """Whether it is this look's turn; any other that turns up late, or again, ends here."""
    return services.notes.take_poll(services.settings.parent, chain, look, _LOOK)


def turn_kept(services: Services, chain: str, look: int) -> AbstractContextManager[None]:
    """Keep this look's turn until it is over, or its process dead."""

    def keep() -> None:
        with suppress(Transient):
            is_ours(services, chain, look)

    return heartbeat.done(keep, _LOOK / 3)


class Seen(NamedTuple):
    """What is to be done for the jobs that ended, and the jobs that did not."""

    ended: list[Step]
    waiting: list[Job]


def look(services: Services) -> Seen:
    """Look at all open jobs; write down those that ended, and take them off the list."""
    parent = services.settings.parent
    open_jobs = {job.name: job for job in services.notes.open_jobs(parent)}
    seen = poll.look(services.jobs, names.mill(services.bucket.url), open_jobs)
    for name, error in seen.unseen.items():
        _log.warning("an open job could not be looked at", job=name, run=open_jobs[name].run, error=error)
    now = services.notes.now()
    found = [find(services, open_jobs[name]) or _missing(open_jobs[name], now) for name in seen.lost]
    waiting = seen.waiting + [job for job in found if not job.ended]
    for job in waiting:
        alarms.note(services, open_jobs[job.name], job, now)
    ended = seen.ended + [job for job in found if job.ended]
    steps = [step for job in ended for step in _end(services, open_jobs[job.name], job)]
    return Seen(steps, waiting)


def find(services: Services, known: OpenJob) -> Job | None:
    """Look in Vertex's list for a job that it does not know by its name."""
    place = known.run, known.shard, known.attempt
    labels = submit.labels(services.bucket, *place)
    return poll.find(services.jobs, known.name, names.display_name(*place), labels)


def _missing(known: OpenJob, now: float) -> Job:
    """A job that is nowhere; it is looked for less often the longer that lasts."""
    return Job(known.name, alarms.MISSING, create_time=known.since or now)


def _end(services: Services, known: OpenJob, job: Job) -> list[Step]:
    return end(services, known, cancel.ended(services.bucket, known.run, job))


def end(services: Services, known: OpenJob, ended: Ended) -> list[Step]:
    """Write down how a job ended and take it off the list; returns what comes next, unless another look did so before."""
    folder = names.shard(known.run, known.shard, known.attempt)
    is_news = records.put(services.bucket, folder + "ended.json", ended)
    progress.watched(services.index, known, ended.job)
    alarms.forget(services, known)
    services.notes.free_slot(services.settings.parent, _slot(known.run, known.shard, known.attempt))
    services.notes.remove_job(services.settings.parent, known.name)
    if not is_news:
        return []
    _log.info("job ended", run=known.run, shard=known.shard, job=known.name, state=ended.job.state)
    return [Step("collect", known.run, (known.shard, known.attempt))]


def pause(services: Services, chain: str, look: int, waiting: list[Job]) -> Wait | None:
    """Return when to look again, and keep the chain alive until then; None when a twin of this look goes on."""
    settings = services.settings
    seconds = poll.interval(waiting, time.time(), settings.poll_interval, settings.poll_max_interval)
    return Wait(seconds) if services.notes.pass_poll(settings.parent, chain, look, seconds + _GRACE) else None


def is_over(services: Services) -> bool:
    """End the chain when no job is open."""
    return services.notes.end_poll(services.settings.parent)
