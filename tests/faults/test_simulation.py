"""Run the real tasks in simulated worlds, one a seed.

`python -m faults.simulation SEED` replays a world and prints its calls.
"""

import functools
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from faults.simulation import Outcome, simulate
from support.waiting import PATIENCE

SEEDS = 300
BLOCK = 25
TESTS = Path(__file__).parents[1]

BUCKET = (
    "create",
    "write",
    "write_stream",
    "replace",
    "read",
    "read_range",
    "find",
    "list",
    "delete",
)
JOBS = ("create", "get", "list", "cancel")
PORTS = (
    *(f"bucket.{name}" for name in BUCKET),
    *(f"jobs.{name}" for name in JOBS),
    "redis",
    "queue",
)
KINDS = ("before", "after", "slow", "crash before", "crash after")
FAULTS = {
    *(f"{port}: {kind}" for port, kind in product(PORTS, KINDS)),
    "create: refused for now",
    "create: unanswered, and not created",
    "create: unanswered, and created",
    "create: unanswered, and created later",
    "message: lost",
    "message: late",
    "message: twice",
    "redis: wiped",
    "all workers died",
    "submit: stands still",
    "run: cancelled",
    "job: does not stop",
    "job: forgotten for a while",
    "job: lost, and ended",
    "job: lost, and tried again",
    "job: JOB_STATE_SUCCEEDED 0",
    "job: JOB_STATE_PARTIALLY_SUCCEEDED 0",
    "job: JOB_STATE_EXPIRED 0",
    "job: JOB_STATE_CANCELLED 1",
    "job: JOB_STATE_FAILED 3",
    "job: JOB_STATE_FAILED 13",
    "job: JOB_STATE_FAILED 13 Failed to export",
    "job: JOB_STATE_FAILED 7 Service account a@b",
    "job: JOB_STATE_FAILED 3 Failed to import",
    "job: waits",
    "output: late",
    "output: missing",
    "output: duplicated",
    "output: unkeyed",
    "output: status",
    "output: provisioning",
    "output: strange lines",
    "answer: does not fit, asked for once more",
    "row: has the answer of another that asks the same",
    "row: has the answer of an earlier run",
}


@functools.cache
def outcome(seed: int) -> Outcome:
    return simulate(seed)


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_every_request_ends_once_and_no_job_is_paid_twice_whatever_goes_wrong(first: int) -> None:
    wrong = [found for seed in range(first, first + BLOCK) if (found := outcome(seed)).wrong]

    assert not wrong, "\n".join(map(str, wrong))


def test_every_fault_occurs_before_and_after_every_effect() -> None:
    missing, seen = FAULTS, Counter[str]()

    for seed in range(SEEDS):
        seen += outcome(seed).seen
        if not (missing := FAULTS - seen.keys()):
            break

    assert not missing


def test_a_seed_does_the_same_again_in_another_process() -> None:
    first, second = _replay("0"), _replay("1")

    assert len(first) > 10_000
    assert first == second


def _replay(hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "faults.simulation", "3"],
        cwd=TESTS,
        env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout
