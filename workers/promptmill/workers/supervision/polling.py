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
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Created, Ended
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.ports.google import Job
from promptmill.workers.runtime import heartbeat
from promptmill.workers.services import Services
from promptmill.workers.steps import cancel, poll, submit
from promptmill.workers.supervision import alarms

_log = structlog.get_logger(__name__)
_FIRST_POLL_SECONDS = 10.0
"""Seconds that the first look of a chain may be on its way; were it less, chains would overtake each other for ever on a
machine that is busy, and none ever look."""
_OVERDUE_SECONDS = 1.5
"""Seconds after which a look that is due and has not begun is taken for that of a dead worker. A live one that is only
late ends when it sees that another chain has overtaken it, which costs a message."""
_TURN_SECONDS = 3.0
"""Seconds after which a look that is not renewed any more is taken for that of a dead worker."""


def reserve_creation(services: Services, run: str, shard: int, attempt: int) -> bool | Wait:
    """Take a slot among the open jobs, and a turn to create one.

    A step without a slot is left to a later sweep: waiting in a queue, thousands would fill one worker's memory.
    """
    settings, open_jobs = services.settings, services.open_jobs
    if not open_jobs.take_slot(_slot_id(run, shard, attempt), settings.max_open_jobs):
        return False
    seconds = open_jobs.take_creation_turn(settings.max_creates_per_minute)
    return Wait(min(seconds, 60.0)) if seconds else True


def select_with_slot(services: Services, submit_steps: list[Step]) -> list[Step]:
    """Return those of the ``submit`` steps that have a slot, or for which there is one."""
    slots = services.open_jobs.list_slots()
    free_count = services.settings.max_open_jobs - len(slots)
    with_slot = [step for step in submit_steps if _slot_id(step.run, *step.indices) in slots]
    return (
        with_slot + [step for step in submit_steps if step not in with_slot][: max(free_count, 0)]
    )


class Reservations(NamedTuple):
    """What is noted: the slots that are taken, and the open jobs by their slots."""

    slots: set[str]
    jobs: dict[str, OpenJob]


def load_reservations(services: Services) -> Reservations:
    """Return what is noted now."""
    open_jobs = services.open_jobs.list_jobs()
    by_slot = {_slot_id(job.run, job.shard, job.attempt): job for job in open_jobs}
    return Reservations(services.open_jobs.list_slots(), by_slot)


def release_ended_jobs(
    services: Services, reservations: Reservations, snapshot: RunSnapshot
) -> None:
    """Let go of what is held of jobs that have ended by the facts of their run: a crash may have kept it."""
    for attempt_ref, attempt_facts in sorted(snapshot.attempts.items()):
        if attempt_facts.ended:
            _release_slot(services, reservations, _slot_id(snapshot.run, *attempt_ref))


def release_closed_runs(
    services: Services, reservations: Reservations, open_runs: set[str]
) -> None:
    """Let go of what is held of runs that are done; it must have been read before the ``open_runs``."""
    for slot in sorted(reservations.slots | reservations.jobs.keys()):
        if slot.partition("/")[0] not in open_runs:
            _release_slot(services, reservations, slot)


def _release_slot(services: Services, reservations: Reservations, slot: str) -> None:
    if slot in reservations.slots:
        services.open_jobs.free_slot(slot)
    if job := reservations.jobs.get(slot):
        services.open_jobs.remove_job(job.name)


def _slot_id(run: str, shard: int, attempt: int) -> str:
    return f"{run}/{shard}/{attempt}"


def track_job(
    services: Services, dispatcher: Dispatcher, run: str, shard: int, attempt: int, created: Created
) -> list[Step]:
    """See that a job is polled; one that was never created has ended already, and is to be collected."""
    if not created.name:
        services.open_jobs.free_slot(_slot_id(run, shard, attempt))
        return [Step("collect", run, (shard, attempt))]
    # In this order: a look that finds the job ended gives back a slot that was taken before the job could be seen.
    services.open_jobs.take_slot(_slot_id(run, shard, attempt), sys.maxsize)
    services.open_jobs.add_job(OpenJob(created.name, run, shard, attempt))
    start_chain(services, dispatcher)
    return []


def start_chain(services: Services, dispatcher: Dispatcher) -> bool:
    """Start a chain, unless one is alive."""
    chain = secrets.token_hex(4)
    if not services.open_jobs.take_poll_turn(chain, 0, _FIRST_POLL_SECONDS):
        return False
    dispatcher.enqueue_poll(chain)
    return True


def revive_chain(services: Services, dispatcher: Dispatcher) -> None:
    """Start a chain if jobs are open and none is alive."""
    if services.open_jobs.is_stalled() and start_chain(services, dispatcher):
        _log.warning("nobody looked at the open jobs any more: polling goes on")


def resume_polling(services: Services, dispatcher: Dispatcher, step: Step) -> list[Step]:
    """See that the job of a ``poll`` step is on the list of open jobs, and that a chain looks at it."""
    shard, attempt = step.indices
    created = records.get_fact(
        services.bucket, names.shard(step.run, shard, attempt) + "job.json", Created
    )
    open_names = {job.name for job in services.open_jobs.list_jobs()}
    if created.name not in open_names:
        return track_job(services, dispatcher, step.run, shard, attempt, created) or [step]
    return [step] if start_chain(services, dispatcher) else []


def claim_turn(services: Services, chain: str, poll_number: int) -> bool:
    """Whether it is this look's turn; any other that turns up late, or again, ends here."""
    return services.open_jobs.take_poll_turn(chain, poll_number, _TURN_SECONDS)


def keep_turn(services: Services, chain: str, poll_number: int) -> AbstractContextManager[None]:
    """Keep this look's turn until it is over, or its process dead."""

    def renew_turn() -> None:
        with suppress(Transient):
            claim_turn(services, chain, poll_number)

    return heartbeat.keep_heartbeat(renew_turn, _TURN_SECONDS / 3)


class PollOutcome(NamedTuple):
    """What is to be done for the jobs that ended, and the jobs that did not."""

    next_steps: list[Step]
    waiting: list[Job]


def poll_open_jobs(services: Services) -> PollOutcome:
    """Look at all open jobs; write down those that ended, and take them off the list."""
    open_jobs = {job.name: job for job in services.open_jobs.list_jobs()}
    poll_result = poll.check_jobs(
        services.jobs, names.deployment_id(services.bucket.url), open_jobs
    )
    for name, error in poll_result.errors.items():
        _log.warning(
            "an open job could not be looked at", job=name, run=open_jobs[name].run, error=error
        )
    now = services.open_jobs.server_time()
    listed_jobs = [
        find_job(services, open_jobs[name]) or _missing_job(open_jobs[name], now)
        for name in poll_result.lost
    ]
    waiting = poll_result.waiting + [job for job in listed_jobs if not job.has_ended]
    for job in waiting:
        alarms.check_job(services, open_jobs[job.name], job, now)
    ended = poll_result.ended + [job for job in listed_jobs if job.has_ended]
    next_steps = [
        step for job in ended for step in _record_polled_end(services, open_jobs[job.name], job)
    ]
    return PollOutcome(next_steps, waiting)


def find_job(services: Services, open_job: OpenJob) -> Job | None:
    """Look in Vertex's list for a job that it does not know by its name."""
    attempt = services.attempt_folder(open_job.run, open_job.shard, open_job.attempt)
    return poll.find_listed_job(
        services.jobs, open_job.name, attempt.display_name, submit.job_labels(attempt)
    )


def _missing_job(open_job: OpenJob, now: float) -> Job:
    """A job that is nowhere; it is looked for less often the longer that lasts."""
    return Job(open_job.name, alarms.MISSING, create_time=open_job.since or now)


def _record_polled_end(services: Services, open_job: OpenJob, job: Job) -> list[Step]:
    ended = cancel.build_ended(services.run_folder(open_job.run), job)
    return record_end(services, open_job, ended)


def record_end(services: Services, open_job: OpenJob, ended: Ended) -> list[Step]:
    """Write down how a job ended and take it off the list; returns what comes next, unless another look did so before."""
    folder = names.shard(open_job.run, open_job.shard, open_job.attempt)
    is_new = records.create_fact(services.bucket, folder + "ended.json", ended)
    progress.record_job_state(services.index, open_job, ended.job)
    alarms.clear_alarm(services, open_job)
    services.open_jobs.free_slot(_slot_id(open_job.run, open_job.shard, open_job.attempt))
    services.open_jobs.remove_job(open_job.name)
    if not is_new:
        return []
    _log.info(
        "job ended",
        run=open_job.run,
        shard=open_job.shard,
        job=open_job.name,
        state=ended.job.state,
    )
    return [Step("collect", open_job.run, (open_job.shard, open_job.attempt))]


def plan_next_poll(
    services: Services, chain: str, poll_number: int, waiting: list[Job]
) -> Wait | None:
    """Return when to look again, and keep the chain alive until then; None when a twin of this look goes on."""
    settings = services.settings
    seconds = poll.next_interval(
        waiting, time.time(), settings.poll_interval, settings.poll_max_interval
    )
    return (
        Wait(seconds)
        if services.open_jobs.pass_poll_turn(chain, poll_number, seconds + _OVERDUE_SECONDS)
        else None
    )


def stop_if_idle(services: Services) -> bool:
    """End the chain when no job is open."""
    return services.open_jobs.end_polling()
