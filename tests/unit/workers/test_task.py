"""Data that only a message carries survives unexpected failures of its step."""

from typing import Any

import pytest

from faults.simulation.celery_app import Tasks
from promptmill.config.errors import ConfigurationError, Permanent
from promptmill.producers.contract.messages import encode_message
from promptmill.workers.facts import dead_letters
from promptmill.workers.fakes import MemoryBucket
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker


class Failing(MemoryBucket):
    """A bucket that raises an error until it is repaired. It always stores dead letters."""

    error: Exception | None = None

    def create(self, name: str, data: bytes) -> bool:
        if self.error and not name.startswith("dead/"):
            raise self.error
        return super().create(name, data)


class World:
    """The real tasks on a pipeline in memory. It records what they send."""

    def __init__(self, error: Exception) -> None:
        self.pipeline = FakePipeline()
        self.bucket = self.pipeline.bucket = Failing(clock=self.pipeline.clock)
        self.bucket.error = error
        self.sent: list[tuple[str, Any, float]] = []
        self._tasks = Tasks()
        worker = FakeWorker(self.pipeline)
        self._tasks.bind(lambda: worker.services, self._send, lambda _: 0)

    def _send(self, name: str, args: Any = None, *_: Any, countdown: float = 0, **__: Any) -> None:
        self.sent.append((name.removeprefix("promptmill."), args, countdown))

    def run(self, task: str, *args: Any) -> BaseException | None:
        self.sent.clear()
        return self._tasks.run(f"promptmill.{task}", list(args), f"{RUN}.c000000.{task}", 0)


@pytest.mark.parametrize(
    "error", [RuntimeError("a prompt"), ConfigurationError("PROMPTMILL_BUCKET is not set")]
)
def test_a_chunk_whose_step_fails_is_redelivered_until_it_is_stored(error: Exception) -> None:
    world = World(error)
    (message,) = world.pipeline.messages(["a", "b"])
    body = encode_message(message)

    for _ in range(dead_letters.MAX_FAILURES - 1):
        assert world.run("ingest", body) is None
        assert [(name, bytes(args[0]), wait) for name, args, wait in world.sent] == [
            ("ingest", body, 60.0)
        ]
    world.bucket.error = None
    world.run("ingest", body)

    assert [name for name, *_ in world.sent] == ["plan"]


def test_a_chunk_whose_step_always_fails_becomes_a_complete_dead_letter() -> None:
    world = World(RuntimeError("a prompt"))
    (message,) = world.pipeline.messages(["a", "b"])
    body = encode_message(message)

    for _ in range(dead_letters.MAX_FAILURES):
        world.run("ingest", body)

    assert world.sent == []
    (letter,) = dead_letters.read_letters(world.bucket)
    assert (dead_letters.decode_arguments(letter), letter.task, letter.reason) == (
        [body],
        "promptmill.ingest",
        "RuntimeError",
    )


@pytest.mark.parametrize(
    ("task", "args"), [("abort", (RUN, "the producer gave up")), ("cancel", (RUN,))]
)
def test_a_cancellation_whose_step_fails_is_redelivered(task: str, args: tuple[str, ...]) -> None:
    world = World(RuntimeError("?"))

    assert world.run(task, *args) is None

    assert [(name, list(sent), wait) for name, sent, wait in world.sent] == [
        (task, list(args), 60.0)
    ]


def test_a_chunk_that_is_refused_permanently_is_not_redelivered() -> None:
    world = World(Permanent("other content"))
    (message,) = world.pipeline.messages(["a"])

    assert isinstance(world.run("ingest", encode_message(message)), Permanent)
    assert isinstance(world.run("ingest", b"no message"), Exception)
    assert world.sent == []


def test_a_folder_placeholder_among_the_dead_letters_is_not_one() -> None:
    bucket = MemoryBucket()
    bucket.create("dead/", b"")
    dead_letters.park_task(bucket, "01j.plan", "promptmill.plan", ["01j"], "why")

    assert [letter.step for letter in dead_letters.read_letters(bucket)] == ["01j.plan"]
    assert dead_letters.parked_steps(bucket) == {"01j.plan"}
