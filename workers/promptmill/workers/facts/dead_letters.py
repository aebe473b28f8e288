"""Dead letters: work that was refused so often that a person must look; kept in the bucket, listed, replayable."""

import base64
from collections.abc import Iterator
from typing import Any

import msgspec

from promptmill.config import names, queues
from promptmill.config.settings import Settings
from promptmill.workers.facts import records
from promptmill.workers.ports.google import Bucket
from promptmill.workers.services import build

MOST_DEATHS = 3
"""A step that took its worker with it so often is parked: it would take the next one too."""
MOST_FAILURES = 5
"""A step that failed so often, for a reason that is not known to pass, is parked."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A task that is not tried again by itself: its arguments as they were sent, and why."""

    step: str
    task: str
    arguments: list[Any]
    reason: str
    at: float


def park(bucket: Bucket, step: str, task: str, arguments: list[Any], reason: str) -> None:
    """Keep a task as a dead letter."""
    packed = [{"bytes": base64.b64encode(one).decode()} if isinstance(one, bytes) else one for one in arguments]
    records.put(bucket, names.dead_letter(step), DeadLetter(step, task, packed, reason, records.now()))


def letters(bucket: Bucket) -> Iterator[DeadLetter]:
    """Yield all dead letters, by step."""
    return records.get_each(bucket, ((names.dead_letter(step), DeadLetter) for step in sorted(steps(bucket))))


def replay(settings: Settings, step: str) -> DeadLetter:
    """Send a parked task again, and forget what it did; raises NotFound when it is not parked."""
    from promptmill.workers.app import make_app

    services = build(settings)
    letter = records.get(services.bucket, names.dead_letter(step), DeadLetter)
    services.notes.forgive(step)
    make_app(settings, build).send_task(
        letter.task,
        args=arguments(letter),
        task_id=step,
        serializer="msgpack" if any(map(_is_bytes, letter.arguments)) else "json",
        queue=queues.QUEUE_OF[letter.task],
        argsrepr=f"({step})",
    )
    services.bucket.delete(names.dead_letter(step))
    return letter


def listed(settings: Settings) -> Iterator[DeadLetter]:
    """Yield all dead letters: the entry point of the command line."""
    return letters(build(settings).bucket)


def steps(bucket: Bucket) -> set[str]:
    """Return the ids of all steps that are parked."""
    found = (stored.name.removeprefix(names.DEAD) for stored in bucket.list(names.DEAD))
    return {step for step in found if names.STEP_ID.fullmatch(step)}


def arguments(letter: DeadLetter) -> list[Any]:
    """Return a letter's arguments as they were sent."""
    return [base64.b64decode(one["bytes"]) if _is_bytes(one) else one for one in letter.arguments]


def _is_bytes(argument: object) -> bool:
    return isinstance(argument, dict) and argument.keys() == {"bytes"}
