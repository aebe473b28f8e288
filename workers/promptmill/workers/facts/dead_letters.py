"""Dead letters: tasks that failed too often and are kept in the bucket until they are replayed."""

import base64
from collections.abc import Iterator
from typing import TypeGuard

import msgspec

from promptmill.config import names
from promptmill.workers.facts import records
from promptmill.workers.facts.fact import Fact, read_facts
from promptmill.workers.ports.google import Bucket

MAX_CRASHES = 3
"""A step that crashed this many workers is parked: it would crash the next one too."""
MAX_FAILURES = 5
"""A step is parked after this many failures that are not transient."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A task that is not retried automatically, with the reason."""

    step: str
    task: str
    arguments: list[object]
    reason: str
    at: float


def park_task(bucket: Bucket, step: str, task: str, arguments: list[object], reason: str) -> None:
    """Store a task as a dead letter."""
    encoded = [_encode_argument(argument) for argument in arguments]
    letter = DeadLetter(step, task, encoded, reason, records.current_time())
    letter_fact(bucket, step).create(letter)


def letter_fact(bucket: Bucket, step: str) -> Fact[DeadLetter]:
    """Return the dead letter of a step; raises ValueError for an invalid step id."""
    return Fact(bucket, names.dead_letter(step), DeadLetter)


def read_letters(bucket: Bucket) -> Iterator[DeadLetter]:
    """Yield all dead letters, by step."""
    return read_facts(bucket, (letter_fact(bucket, step) for step in sorted(parked_steps(bucket))))


def parked_steps(bucket: Bucket) -> set[str]:
    """Return the ids of all parked steps."""
    step_ids = (stored.name.removeprefix(names.DEAD) for stored in bucket.list(names.DEAD))
    return {step for step in step_ids if names.STEP_ID.fullmatch(step)}


def decode_arguments(letter: DeadLetter) -> list[object]:
    """Return a letter's arguments as they were sent."""
    return [_decode_argument(argument) for argument in letter.arguments]


def _encode_argument(argument: object) -> object:
    if isinstance(argument, bytes):
        return {"bytes": base64.b64encode(argument).decode()}
    return argument


def _decode_argument(argument: object) -> object:
    return base64.b64decode(argument["bytes"]) if _is_bytes(argument) else argument


def has_bytes(letter: DeadLetter) -> bool:
    """Return whether an argument is bytes, which JSON cannot carry."""
    return any(map(_is_bytes, letter.arguments))


def _is_bytes(argument: object) -> TypeGuard[dict[str, str]]:
    return isinstance(argument, dict) and argument.keys() == {"bytes"}
