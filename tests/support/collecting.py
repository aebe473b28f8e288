"""Many processes that enqueue into one pool at the same time."""

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
    prompts_of_call = [{"key": key, "prompt": f"Classify ticket {key}"} for key in keys]
    mill.enqueue(prompts_of_call, pool=pool)
"""


def collect(stack: LocalStack, calls: int, prompts: int, processes: int) -> None:
    """Divide a number of calls, each with several prompts, among processes."""
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
    """Return the number of succeeded requests in completed runs of the pool."""
    return sum(run.status.succeeded for run in pooled(mill) if run.status.done)


def pooled(mill: Promptmill) -> list[Run]:
    """Return the runs of the pool."""
    return [run for run in mill.runs() if run.status.labels.get("pool") == POOL]
