"""Slots, which limit the number of open jobs, and turns, which limit the rate of creation."""

from typing import NamedTuple

from promptmill.config.settings import Settings
from promptmill.workers.coordination.open_jobs import OpenJob, OpenJobs, slot_of
from promptmill.workers.facts.step import Step, Wait

_MAX_WAIT_SECONDS = 60.0


class Reservations(NamedTuple):
    """The slots that are taken, and the open jobs by their slots."""

    slots: set[str]
    jobs: dict[str, OpenJob]


def load_reservations(open_jobs: OpenJobs) -> Reservations:
    """Return what is reserved now."""
    by_slot = {job.slot: job for job in open_jobs.list_jobs()}
    return Reservations(open_jobs.list_slots(), by_slot)


def reserve_creation(
    open_jobs: OpenJobs, settings: Settings, run: str, shard: int, attempt: int
) -> bool | Wait:
    """Take a slot and a turn to create a job. False without a free slot.

    A later sweep sends a step that got no slot. Thousands of waiting steps would fill the
    memory of a worker.
    """
    if not open_jobs.take_slot(slot_of(run, shard, attempt), settings.max_open_jobs):
        return False
    seconds = open_jobs.take_creation_turn(settings.max_creates_per_minute)
    return Wait(min(seconds, _MAX_WAIT_SECONDS)) if seconds else True


def select_with_slot(submit_steps: list[Step], slots: set[str], limit: int) -> list[Step]:
    """Return the ``submit`` steps that have a slot, and as many others as slots are free."""
    with_slot = [step for step in submit_steps if slot_of(step.run, *step.indices) in slots]
    without_slot = [step for step in submit_steps if step not in with_slot]
    return with_slot + without_slot[: max(limit - len(slots), 0)]
