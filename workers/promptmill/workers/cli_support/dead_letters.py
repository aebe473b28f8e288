"""Lists and replays dead letters for the command line."""

from collections.abc import Iterator

from promptmill.config import queues
from promptmill.config.errors import NotFound
from promptmill.config.settings import Settings
from promptmill.workers.app import make_app
from promptmill.workers.facts import dead_letters
from promptmill.workers.facts.dead_letters import DeadLetter
from promptmill.workers.services import build_services


def list_dead_letters(settings: Settings) -> Iterator[DeadLetter]:
    """Yield all dead letters, by step."""
    return dead_letters.read_letters(build_services(settings).bucket)


def replay_letter(settings: Settings, step: str) -> DeadLetter:
    """Re-queue a parked task and reset its failure count; raises NotFound if it is not parked."""
    services = build_services(settings)
    fact = dead_letters.letter_fact(services.bucket, step)
    letter = fact.find()
    if letter is None:
        raise NotFound(f"no dead letter {step}; list them with promptmill dead-letters")
    services.leases.reset_failures(step)
    _send_task(settings, letter, step)
    services.bucket.delete(fact.name)
    return letter


def _send_task(settings: Settings, letter: DeadLetter, step: str) -> None:
    make_app(settings, build_services).send_task(
        letter.task,
        args=dead_letters.decode_arguments(letter),
        task_id=step,
        serializer="msgpack" if dead_letters.has_bytes(letter) else "json",
        queue=queues.TASK_QUEUES[letter.task],
        argsrepr=f"({step})",
    )
