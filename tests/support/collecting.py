"""Many processes that collect into one pool at once, and what comes of it."""

import os
import subprocess
import sys

from promptmill.producers import Promptmill, Run
from support.local_stack import LocalStack

POOL = "tickets"
_CALLER = """
import sys
from promptmill.producers import Promptmill
mill, pool, first, last, prompts = Promptmill(), sys.argv[1], *map(int, sys.argv[2:])
for call in range(first, last):
    keys = (f"{call}-{prompt}" for prompt in range(prompts))
    mill.collect([{"key": key, "prompt": f"Classify ticket {key}: my parcel has not come"} for key in keys], pool=pool)
"""


def collect(stack: LocalStack, calls: int, prompts: int, processes: int) -> None:
    """Let several processes make so many calls between them, of so many prompts each."""
    share = calls // processes
    places = [
        (POOL, str(first), str(first + share), str(prompts)) for first in range(0, calls, share)
    ]
    environment = os.environ | stack.environment
    callers = [
        subprocess.Popen([sys.executable, "-c", _CALLER, *place], env=environment)
        for place in places
    ]
    assert [caller.wait() for caller in callers] == [0] * processes


def answered(mill: Promptmill) -> int:
    """How many requests of the pool are in runs that are done."""
    return sum(run.status.succeeded for run in pooled(mill) if run.status.done)


def pooled(mill: Promptmill) -> list[Run]:
    """The runs of the pool."""
    return [run for run in mill.runs() if run.status.labels.get("pool") == POOL]
