"""Inject random faults for a given time: `make soak SECONDS=1800`.

Workers run as in production. They are killed, Redis is wiped or cut off, and calls to Vertex
fail. Afterwards every run must end without a violation.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis

from faults.invariants import observe, violations
from promptmill.config.errors import PromptmillError
from promptmill.producers import Promptmill, Run
from promptmill.producers.contract import sink_specs
from support.local_stack import (
    QUICK,
    SERVERS,
    WORKERS,
    LocalStack,
    read_results,
    running,
    surroundings,
)
from support.waiting import PATIENCE

REQUESTS = 60
PAUSE = 4.0
"""Seconds between two faults, on average."""
AFTERWARDS = PATIENCE
"""Maximum seconds until every run has ended after the last fault."""
SETTINGS = QUICK | {
    "PROMPTMILL_MAX_REQUESTS_PER_JOB": "20",
    "PROMPTMILL_PART_BYTES": "8192",
    "PROMPTMILL_CHUNK_BYTES": "16384",
    "PROMPTMILL_MAX_CREATES_PER_MINUTE": "6000",
}


class Soak:
    """Submits runs and injects faults. The seed decides on their kinds and times."""

    def __init__(self, servers: LocalStack, workers: LocalStack, answers: Path, seed: int) -> None:
        self.servers, self.workers, self.answers = servers, workers, answers
        self.random = random.Random(seed)
        self.redis = redis.Redis.from_url(servers.environment["CELERY_BROKER_URL"])
        self.runs: dict[str, Run] = {}
        self.made: Counter[str] = Counter()

    def go_on(self, seconds: float) -> None:
        """Submit runs and inject faults for this many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.submit(f"soak {len(self.runs)}")
            fault = self.random.choice(
                [self.kill, self.wipe, self.cut, self.refuse, self.lose, self.spoil]
            )
            with suppress(redis.RedisError):
                fault()
                self.made[fault.__name__] += 1
            time.sleep(self.random.uniform(0, 2 * PAUSE))
        self.servers.clear_faults()

    def submit(self, key: str) -> None:
        """Submit a run, or repeat it if part of it was lost."""
        prompts = (f"Say {number} {'word ' * 200}" for number in range(1, REQUESTS + 1))
        with suppress(PromptmillError):
            self.runs[key] = Promptmill().submit(
                prompts, idempotency_key=key, sinks=[sink_specs.jsonl(self.sink(key))]
            )

    def sink(self, key: str) -> Path:
        """Return the file for the rows of a run."""
        return self.answers / f"{key}.jsonl"

    def kill(self) -> None:
        """Kill a worker and all its processes, or beat."""
        self.workers.kill(self.random.choice(WORKERS))

    def wipe(self) -> None:
        """Empty Redis."""
        self.redis.flushall()

    def cut(self) -> None:
        """Break every connection to Redis."""
        self.redis.client_kill_filter(_type="normal", skipme=True)

    def refuse(self) -> None:
        """Let Vertex refuse a few calls."""
        self.servers.fault(self.random.choice(["create", "list"]), "status", times=2, status=503)

    def lose(self) -> None:
        """Let the answer to a creation be lost."""
        self.servers.fault("create", "after")

    def spoil(self) -> None:
        """Let a few rows fail, be missing or come twice."""
        self.servers.fault(
            "output", self.random.choice(["error", "missing", "duplicated"]), count=3
        )

    def end(self) -> dict[str, list[str]]:
        """Wait for the end of every run, and return the violations by run."""
        until = time.monotonic() + AFTERWARDS
        while open_runs := [key for key in self.runs if not self.ended(key)]:
            if time.monotonic() > until:
                return {key: [f"has not ended: {self.runs[key]}"] for key in open_runs}
            for key in open_runs:
                self.submit(key)
            time.sleep(5.0)
        return {key: wrong for key, run in self.runs.items() if (wrong := self.judge(key, run))}

    def ended(self, key: str) -> bool:
        """Return whether a run has a report and its file."""
        with suppress(PromptmillError):
            return bool(self.runs[key].report()) and self.sink(key).exists()
        return False

    def judge(self, key: str, run: Run) -> list[str]:
        """Return the violations of an ended run."""
        rows = {"the file": read_results(self.sink(key))}
        return violations(observe(run, map(str, range(1, REQUESTS + 1)), self.servers.jobs, rows))


def main(show: Callable[[str], object]) -> int:
    """Inject faults, and print the violations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    asked = parser.parse_args()
    show(f"seed {asked.seed}, {asked.seconds:g} s of faults")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with (
            running(directory / "servers", SERVERS) as servers,
            surroundings(servers.environment),
            running(directory / "workers", WORKERS, settings=SETTINGS) as workers,
            surroundings(SETTINGS),
        ):
            soak = Soak(servers, workers, directory / "answers", asked.seed)
            soak.answers.mkdir()
            soak.go_on(asked.seconds)
            show(f"{len(soak.runs)} runs, faults: {dict(soak.made)}; waiting for their end")
            wrong = soak.end()
    show(
        "\n".join(f"{key}: {breach}" for key, found in wrong.items() for breach in found)
        or "no violations"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(print))
