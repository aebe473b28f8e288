"""What 10,000 small submissions from several processes cost, when they are pooled."""

import os
import subprocess
import sys
import time
from pathlib import Path

from deadline import until
from measurement import Tell
from promptmill.producers import Promptmill, Run
from stack import QUICK, Site, running, surroundings

CALLS = 10_000
PROMPTS = 10
CALLERS = 4
MOST_JOBS = 10
MOST_SECONDS = 240.0
CALLER = """
import sys
from promptmill.producers import Promptmill
mill, first, last, prompts = Promptmill(), *map(int, sys.argv[1:])
for call in range(first, last):
    keys = (f"{call}-{prompt}" for prompt in range(prompts))
    mill.collect([{"key": key, "prompt": f"Classify ticket {key}: my parcel has not come"} for key in keys], pool="tickets")
"""


def test_10000_submissions_of_10_prompts_become_at_most_10_jobs_within_four_minutes(tmp_path: Path, tell: Tell) -> None:
    with running(tmp_path, settings={**QUICK, "PROMPTMILL_POLL_INTERVAL": "3"}) as site, surroundings(site.environment):
        began = time.monotonic()
        collect(site)
        collected = time.monotonic() - began
        mill = Promptmill()
        until(lambda: answered(mill) >= CALLS * PROMPTS, 600, "an answer to each")
        done = time.monotonic() - began
        runs = pooled(mill)
        jobs = sum(len(site.jobs(run.id)) for run in runs)
        keys = {result.key for run in runs for result in run.results()}
    figures = {
        "collected_seconds": round(collected, 1),
        "done_seconds": round(done, 1),
        "runs": len(runs),
        "jobs": jobs,
    }
    tell(f"{CALLS:,} submissions of {PROMPTS} prompts by {CALLERS} processes", [figures])

    assert len(keys) == CALLS * PROMPTS
    assert jobs <= MOST_JOBS
    assert done < MOST_SECONDS


def collect(site: Site) -> None:
    """Let several processes collect at once."""
    share = CALLS // CALLERS
    places = [(str(first), str(first + share), str(PROMPTS)) for first in range(0, CALLS, share)]
    callers = [
        subprocess.Popen([sys.executable, "-c", CALLER, *place], env=os.environ | site.environment) for place in places
    ]
    assert [caller.wait() for caller in callers] == [0] * CALLERS


def answered(mill: Promptmill) -> int:
    """How many requests are in runs that are done."""
    return sum(run.status.succeeded for run in pooled(mill) if run.status.done)


def pooled(mill: Promptmill) -> list[Run]:
    """The runs of the pool."""
    return [run for run in mill.runs() if run.status.labels.get("pool") == "tickets"]
