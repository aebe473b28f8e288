"""Runs one seed to its end, and judges it."""

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from faults.simulation import celery_app, checking
from faults.simulation.crew import Crew
from faults.simulation.story import Story, submissions
from faults.simulation.world import World

_PATIENCE = 4 * 3600.0
"""Simulated seconds after the last fault in which every run must have ended."""

_crew = Crew()


@dataclass(frozen=True)
class Outcome:
    """What became of one seed: what was wrong, which faults occurred, and how much was done."""

    seed: int
    wrong: list[str]
    seen: Counter[str]
    tasks: int
    took: float

    def __str__(self) -> str:
        told = "\n".join(f"  {line}" for line in self.wrong[:20])
        return f"seed {self.seed}:\n{told}\nreplay it: PYTHONPATH=tests .venv/bin/python -m faults.simulation {self.seed}"


def simulate(seed: int, trace: Callable[[str], None] | None = None) -> Outcome:
    """Run the world of a seed; the same seed does the same every time."""
    tasks = celery_app.shared()
    world = World(seed, tasks, _crew, trace)
    tasks.bind(world.workers_services, world.send_task, world.waiting)
    wanted = submissions(world.rng, seed)
    story = Story(world, wanted, tasks.app)
    world.watch = lambda: checking.check_always(world, wanted, swept=not story.ended)
    with _simulated(world):
        story.begin()
        deadline = world.now + world.shape.faults_end + _PATIENCE
        if world.run_until(story.is_over, deadline):
            took = world.now - world.shape.began
            story.ended = True
            world.drain()
            for submission in wanted:
                world.wrong += checking.check(world, submission)
        else:
            took = world.now - world.shape.began
            world.wrong.append(f"not over: {checking.standing(world, wanted)}")
        world.abandon()
    return Outcome(seed, list(dict.fromkeys(world.wrong)), world.faults.seen, world.tasks_run, took)


@contextmanager
def _simulated(world: World) -> Iterator[None]:
    """Let the process have the world's clock and chance, and keep quiet."""
    told, passed, drawn, state = time.time, time.monotonic, secrets.token_hex, random.getstate()
    logs = structlog.get_config()
    chance = random.Random(world.seed)
    random.seed(world.seed)
    time.time, time.monotonic = world.worker_clock, world.clock
    secrets.token_hex = lambda nbytes=None: (
        f"{chance.getrandbits(8 * (nbytes or 32)):0{2 * (nbytes or 32)}x}"
    )
    structlog.reset_defaults()
    structlog.configure(
        logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False
    )
    try:
        yield
    finally:
        time.time, time.monotonic, secrets.token_hex = told, passed, drawn
        random.setstate(state)
        structlog.configure(**logs)
