"""How long Promptmill takes before a job is created and after it has ended, with the settings of production."""

import time
from datetime import datetime
from pathlib import Path
from statistics import median

from promptmill.cli.sample_prompts import translation_prompts
from promptmill.producers import Promptmill
from promptmill.producers.contract import sink_specs
from promptmill.workers.adapters.storage import open_bucket
from support.local_stack import LocalStack, ask, running, surroundings
from support.measurement import Tell
from support.waiting import PATIENCE

REQUESTS = 5_500
RUNS = 5
VERTEX_SECONDS = 60.0
MOST_BEFORE = MOST_AFTER = 5.0
PHASE = 0.6
"""Seconds by which each run's job takes longer than that of the run before: else all would end at the same moment between
two looks, which come every three seconds from the job's creation on."""
SINK = "gs://promptmill-local/answers"


def test_5500_requests_wait_five_seconds_before_their_job_and_five_after_it(
    tmp_path: Path, tell: Tell
) -> None:
    with (
        running(tmp_path, latency=VERTEX_SECONDS, settings={}) as stack,
        surroundings(stack.environment),
    ):
        runs = []
        for number in range(RUNS):
            stack.fault("job", "queued", seconds=number * PHASE)
            runs.append(measure(stack, tmp_path / f"answers-{number}.jsonl"))
    middle = {name: round(median(run[name] for run in runs), 2) for name in runs[0]}
    tell(f"{REQUESTS:,} requests, seconds of {RUNS} runs and their median", [*runs, middle])

    assert middle["before_job"] <= MOST_BEFORE
    assert middle["after_job"] <= MOST_AFTER


def measure(stack: LocalStack, answers: Path) -> dict[str, float]:
    """Do a run: seconds from the call to the job's creation, and from the job's end to the last row in either sink."""
    began = time.time()
    run = Promptmill().submit(
        translation_prompts(REQUESTS), sinks=[sink_specs.jsonl(answers), sink_specs.jsonl(SINK)]
    )
    run.wait(PATIENCE)

    report = run.report()
    created, ended = job_times(stack, run.id)
    delivered = max(stored.updated for stored in open_bucket(f"{SINK}/{run.id}").list(""))
    assert (report.state, report.succeeded) == ("succeeded", REQUESTS)
    return {
        "before_job": round(created - began, 2),
        "after_job": round(max(delivered, answers.stat().st_mtime) - ended, 2),
        "vertex_seconds": report.vertex_seconds,
        "overhead_seconds": report.overhead_seconds,
    }


def job_times(stack: LocalStack, run: str) -> tuple[float, float]:
    """When the emulator created the run's only job, and when that ended."""
    [job] = [
        job
        for job in ask(stack.emulator, "GET", "/admin/jobs")["jobs"]
        if job["labels"].get("run") == run
    ]
    created, ended = (
        datetime.fromisoformat(job[name]).timestamp() for name in ("createTime", "endTime")
    )
    return created, ended
