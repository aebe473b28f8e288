"""Dead letters: work that was refused so often that a person must look; kept in the bucket, listed, replayable."""

import base64
from collections.abc import Iterator
from typing import Any

import msgspec

from promptmill.config import names, queues
from promptmill.config.settings import Settings
from promptmill.workers.facts import records
from promptmill.workers.ports.google import Bucket
from promptmill.workers.services import build_services

MAX_CRASHES = 3
"""A step that took its worker with it so often is parked: it would take the next one too."""
MAX_FAILURES = 5
"""A step that failed so often, for a reason that is not known to pass, is parked."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A task that is not tried again by itself: its arguments as they were sent, and why."""

    step: str
    task: str
    arguments: list[Any]
    reason: str
    at: float


def park_task(bucket: Bucket, step: str, task: str, arguments: list[Any], reason: str) -> None:
    """Keep a task as a dead letter."""
    encoded = [
        {"bytes": base64.b64encode(argument).decode()} if isinstance(argument, bytes) else argument
        for argument in arguments
    ]
    records.create_fact(
        bucket,
        names.dead_letter(step),
        DeadLetter(step, task, encoded, reason, records.current_time()),
    )


def read_letters(bucket: Bucket) -> Iterator[DeadLetter]:
    """Yield all dead letters, by step."""
    return records.get_facts(
        bucket, ((names.dead_letter(step), DeadLetter) for step in sorted(parked_steps(bucket)))
    )


def replay_letter(settings: Settings, step: str) -> DeadLetter:
    """Send a parked task again, and forget what it did; raises NotFound when it is not parked."""
    from promptmill.workers.app import make_app

    services = build_services(settings)
    letter = records.get_fact(services.bucket, names.dead_letter(step), DeadLetter)
    services.notes.reset_failures(step)
    make_app(settings, build_services).send_task(
        letter.task,
        args=decode_arguments(letter),
        task_id=step,
        serializer="msgpack" if any(map(_is_bytes, letter.arguments)) else "json",
        queue=queues.TASK_QUEUES[letter.task],
        argsrepr=f"({step})",
    )
    services.bucket.delete(names.dead_letter(step))
    return letter


def list_dead_letters(settings: Settings) -> Iterator[DeadLetter]:
    """Yield all dead letters: the entry point of the command line."""
    return read_letters(build_services(settings).bucket)


def parked_steps(bucket: Bucket) -> set[str]:
    """Return the ids of all steps that are parked."""
    step_ids = (stored.name.removeprefix(names.DEAD) for stored in bucket.list(names.DEAD))
    return {step for step in step_ids if names.STEP_ID.fullmatch(step)}


def decode_arguments(letter: DeadLetter) -> list[Any]:
    """Return a letter's arguments as they were sent."""
    return [
        base64.b64decode(argument["bytes"]) if _is_bytes(argument) else argument
        for argument in letter.arguments
    ]


def _is_bytes(argument: object) -> bool:
    return isinstance(argument, dict) and argument.keys() == {"bytes"}
