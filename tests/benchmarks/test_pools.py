"""What 10,000 small submissions from several processes cost, when they are pooled."""

import time
from pathlib import Path

from promptmill.producers import Promptmill
from support.collecting import answered, collect, pooled
from support.local_stack import QUICK, running, surroundings
from support.measurement import Tell
from support.waiting import wait_until

CALLS = 10_000
PROMPTS = 10
CALLERS = 4
MOST_JOBS = 10
MOST_SECONDS = 240.0


def test_10000_submissions_of_10_prompts_become_at_most_10_jobs_within_four_minutes(
    tmp_path: Path, tell: Tell
) -> None:
    with (
        running(tmp_path, settings={**QUICK, "PROMPTMILL_POLL_INTERVAL": "3"}) as stack,
        surroundings(stack.environment),
    ):
        began = time.monotonic()
        collect(stack, CALLS, PROMPTS, CALLERS)
        collected = time.monotonic() - began
        mill = Promptmill()
        wait_until(lambda: answered(mill) >= CALLS * PROMPTS, "an answer to each")
        done = time.monotonic() - began
        runs = pooled(mill)
        jobs = sum(len(stack.jobs(run.id)) for run in runs)
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
