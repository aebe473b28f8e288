"""What is done in a world: producers submit runs, beat sweeps, Redis is wiped, workers die, a user cancels."""

import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from faults.simulation import answers
from faults.simulation.crew import Crash
from faults.simulation.world import Message, World
from promptmill.config import names
from promptmill.config.errors import PromptmillError
from promptmill.config.queues import takeover_times
from promptmill.producers import Promptmill
from promptmill.producers.contract.messages import SinkSpec
from promptmill.producers.sender import Sender
from promptmill.workers.dispatch import Dispatcher
from promptmill.workers.facts import dead_letters, snapshot
from promptmill.workers.facts.fact import Fact
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.supervision import lost_jobs

_AGAIN = 60.0
"""Seconds after which a producer looks whether its run has come to something, and else sends it again."""


_REPLAY = 300.0
"""Seconds between two looks of a person at the dead letters, and at the lost jobs."""


@dataclass
class Submission:
    """A run that a producer wants done."""

    key: str
    prompts: list[Any]
    max_attempts: int
    sinks: list[SinkSpec]
    cancel_after: float = 0.0
    deadline: float | None = None
    structured: bool = False
    retry_schema_invalid: bool = False
    calls: bool = False
    reuse_answers: bool = False
    after: "Submission | None" = None
    """The run that is over before this one is sent."""
    run: str = ""

    def __post_init__(self) -> None:
        from promptmill.producers.contract.ids import make_run_id

        self.run = make_run_id(self.key)


def submissions(rng: random.Random, seed: int) -> list[Submission]:
    """Draw one or two runs."""
    drawn = [_submission(rng, f"{seed}/{number}") for number in range(rng.choice((1, 1, 2)))]
    if len(drawn) > 1:
        _ask_again(drawn[1], drawn[0])
    return drawn


def _ask_again(second: Submission, first: Submission) -> None:
    """Let a run ask what an earlier one asks, in most worlds after that is over, and want its answers."""
    again = random.Random(f"{second.key} again")
    if again.random() < 0.5:
        second.reuse_answers = again.random() < 0.8
        if again.random() < 0.8:
            second.structured, second.retry_schema_invalid = (
                first.structured,
                first.retry_schema_invalid,
            )
        second.after = first if again.random() < 0.8 else None
        asked = [prompt for prompt in first.prompts if prompt]
        for row in range(len(second.prompts)):
            if asked and again.random() < 0.5:
                second.prompts[row] = _asking(second.prompts[row], again.choice(asked))


def _submission(rng: random.Random, key: str) -> Submission:
    # Of its own, so that the rest of a seed's world is the same with and without.
    same = random.Random(f"{key} same")
    prompts: list[Any] = []
    for row in range(1, rng.randint(1, 30) + 1):
        text = f"prompt {row} of {key} " + "x" * rng.randrange(80)
        prompts.append(
            rng.choice(
                (text, text, text, {"prompt": text, "key": f"k{row}", "metadata": {"row": row}})
            )
        )
    for row in rng.sample(range(len(prompts)), len(prompts) // 10):
        prompts[row] = ""
    if same.random() < 0.4:
        for row in range(1, len(prompts)):
            if same.random() < 0.5:
                prompts[row] = _asking(prompts[row], prompts[same.randrange(row)])
    structure = random.Random(f"{key} structured")
    structured = structure.random() < 0.4
    return Submission(
        structured=structured,
        retry_schema_invalid=structured and structure.random() < 0.8,
        key=key,
        prompts=prompts,
        max_attempts=rng.randint(1, 3),
        sinks=[SinkSpec("jsonl", "gs://simulated/sink")][: rng.choice((0, 1, 1, 1))],
        cancel_after=rng.choice((0, 0, 0, rng.uniform(1, 200))),
        deadline=rng.choice((None, None, None, rng.uniform(20, 300))),
        calls=rng.choice((False, True)),
    )


def _asking(prompt: Any, other: Any) -> Any:
    """Return a prompt, with its own key and metadata, that asks what another asks."""
    text = other if isinstance(other, str) else other["prompt"]
    return text if isinstance(prompt, str) or not text else prompt | {"prompt": text}


class Story:
    """Everybody outside of the workers."""

    def __init__(self, world: World, wanted: list[Submission], app: Any) -> None:
        self._world = world
        self._wanted = wanted
        self._app = app
        self.ended = False

    def begin(self) -> None:
        """Set everything going."""
        world, rng = self._world, self._world.rng
        for submission in self._wanted:
            world.later(rng.uniform(0, 20), partial(self._produce, submission))
            if submission.cancel_after:
                world.later(submission.cancel_after, partial(self._cancel, submission))
        self._beat()
        quiet = world.shape.faults_end
        for _ in range(rng.choice((0, 0, 1, 2))):
            world.later(rng.uniform(0, quiet), world.wipe)
        for _ in range(rng.choice((0, 0, 1, 2))):
            world.later(rng.uniform(0, quiet), self._pull_the_plug)
        world.later(quiet, self._calm)
        self._look_after_letters()
        self._look_after_lost_jobs()

    def is_over(self) -> bool:
        """Whether every run is reported, and off the list of open runs, and no job may have late answers."""
        return all(self._is_done(one.run) for one in self._wanted) and not [
            *self._world.bucket.list(names.ABANDONED_JOBS)
        ]

    def _is_done(self, run: str) -> bool:
        folder = RunFolder(self._world.bucket, run)
        return folder.report.exists() and self._world.bucket.find(folder.open_marker) is None

    def _calm(self) -> None:
        self._world.say("faults end")
        self._world.faults.active = False

    def _beat(self) -> None:
        if not self.ended:
            interval = self._world.shape.settings.reconcile_interval
            self._world.put(Message("promptmill.reconcile", [], f"beat{self._world.now:.0f}"), 0.0)
            self._world.later(interval, self._beat)

    def _look_after_letters(self) -> None:
        """Replay what is parked, which nothing should be: no step of this world takes its worker with it three times."""
        world = self._world
        for stored in list(world.bucket.list(names.DEAD)):
            letter = Fact(world.bucket, stored.name, dead_letters.DeadLetter).get()
            world.wrong.append(f"{letter.step} was parked: {letter.reason}")
            world.services.leases.reset_failures(letter.step)
            world.bucket.delete(stored.name)
            world.put(Message(letter.task, dead_letters.decode_arguments(letter), letter.step), 0.0)
        if not self.ended:
            world.later(_REPLAY, self._look_after_letters)

    def _look_after_lost_jobs(self) -> None:
        """Say what is to become of jobs that are lost, one way or the other."""
        world = self._world
        flow = Dispatcher(self._app, world.services.leases, takeover_times(world.services.settings))
        for job in lost_jobs.find_lost_jobs(world.services.open_jobs):
            again = world.rng.random() < 0.5
            world.faults.note(f"job: lost, and {'tried again' if again else 'ended'}")
            with suppress(ValueError):  # it has turned up
                attempt_path = f"{job.run}/{job.shard}/{job.attempt}"
                lost_jobs.end_lost_job(world.services, flow, attempt_path, retry=again)
        if not self.ended:
            world.later(_REPLAY, self._look_after_lost_jobs)

    def _pull_the_plug(self) -> None:
        world = self._world
        if all(world.faults.may_crash(actor.name) for actor in world.actors.values()):
            world.faults.note("all workers died")
            world.say("power cut")
            world.kill_all()

    def _cancel(self, submission: Submission) -> None:
        self._world.faults.note("run: cancelled")
        self._world.put(
            Message("promptmill.cancel", [submission.run], f"{submission.run}.cancel"), 0.0
        )

    def _produce(self, submission: Submission) -> None:
        """Send a run, unless it is all there; look again later."""
        world = self._world
        if submission.after and not self._is_done(submission.after.run):
            world.later(_AGAIN, lambda: self._produce(submission))
            return
        if (
            self.ended
            or self._is_done(submission.run)
            or snapshot.load_snapshot(world.bucket, submission.run).is_whole
        ):
            return
        world.later(_AGAIN, lambda: self._produce(submission))
        world.act(f"producer {submission.key}", lambda: self._submit(submission))

    def _submit(self, submission: Submission) -> None:
        world = self._world
        mill: Any = object.__new__(Promptmill)  # settings are not those of the environment
        mill.settings = world.shape.settings
        mill.index = world.services.index
        mill._sender = Sender(mill.settings, world.connection)
        mill._sender._celery_app = self._app
        try:
            mill.submit(
                submission.prompts,
                model="gemini-3.8-flash",
                idempotency_key=submission.key,
                sinks=submission.sinks,
                max_attempts=submission.max_attempts,
                deadline=submission.deadline,
                response_schema=answers.SCHEMA if submission.structured else None,
                retry_schema_invalid=submission.retry_schema_invalid,
                reuse_answers=submission.reuse_answers,
                link={"task": "well"} if submission.calls else None,
                link_error={"task": "badly"} if submission.calls else None,
            )
        except Crash:
            world.say("is gone")
        except PromptmillError as error:
            world.say(f"gives up: {error!r}")
            world.told(submission.key, error)
        except BaseException as surprise:  # noqa: BLE001 - told by the checks
            world.wrong.append(f"producer: {surprise!r}")
