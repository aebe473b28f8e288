"""What must be true of a run when it is over, whatever went wrong: judged by what Vertex was asked and what it wrote."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from faults.simulation.expected import Expected, text_of
from faults.simulation.story import Submission
from faults.simulation.world import World
from promptmill.config.errors import RunNotFound
from promptmill.producers.contract.status import END_STATES, Report
from promptmill.workers.cli_support import results
from promptmill.workers.facts import next_steps, snapshot
from promptmill.workers.facts.next_steps import missing_chunks
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.fakes import MemoryBucket

_ENDED_EARLY = ("JOB_CANCELLED", "DEADLINE_EXCEEDED")


def check(world: World, submission: Submission) -> Iterator[str]:
    """Yield what is wrong with a run that is over."""
    run, bucket = submission.run, world.bucket
    report = msgspec.json.decode(bucket.read(RunFolder(bucket, run).report.name), type=Report)
    rows = [json.loads(line) for line in results.result_lines(bucket, run)]
    yield from _check_calls(world, submission, report)
    if RunFolder(bucket, run).aborted.find_object() and not report.requests:
        yield from _check_aborted(world, submission, rows)
        return
    expected = Expected(world, submission)
    yield from _check_rows(rows, expected, "results")
    if submission.sinks:
        yield from _check_rows(_sink_rows(world, submission), expected, "sink")
    yield from _check_bill(world, submission, report)
    yield from _check_once(world, submission)
    yield from _check_delays(world, submission)
    yield from expected.check_late(rows)
    yield from _check_reused(world, submission, rows)
    yield from _check_report(report, rows, len(submission.prompts))
    yield from _check_index(world, report)


def _check_calls(world: World, submission: Submission, report: Report) -> Iterator[str]:
    """Who wants to be called is, once or more, by one id; and of a good end or of a bad one."""
    calls = [
        call for call in world.called.sent if call.task_id.startswith(f"{submission.run}.link")
    ]
    well = report.state in {"succeeded", "partially_succeeded"}
    wanted = {("well" if well else "badly", f"{report.run}.{'link' if well else 'link_error'}0")}
    if {(call.task, call.task_id) for call in calls} != (wanted if submission.calls else set()):
        yield f"a run that ended {report.state} made the calls {[call.task_id for call in calls]}"
    if any(call.args[0]["state"] != report.state for call in calls):
        yield "a callback was told of another end"


def check_always(world: World, wanted: list[Submission], *, swept: bool) -> Iterator[str]:
    """Yield what is wrong at any time: a run must not be told to have ended before it has.

    Nor must it be forgotten for long, while there are sweeps.
    """
    for one in wanted:
        if swept:
            yield from _check_known(world, one)
        state = world.redis.hget(f"promptmill:run:{one.run}", "state")
        if state in END_STATES and not RunFolder(world.bucket, one.run).report.exists():
            yield f"run {one.run} is said to be {state}, but is not reported"


def _check_known(world: World, submission: Submission) -> Iterator[str]:
    """An open run of which Redis was wiped is written into the index by one of the next sweeps, once they come through."""
    quiet = max(world.flushed_at, world.shape.began + world.shape.faults_end)
    marked = world.bucket.find(RunFolder(world.bucket, submission.run).open_marker)
    if (
        marked is None
        or world.now
        < max(quiet, marked.updated) + _SWEEPS * world.shape.settings.reconcile_interval
    ):
        return
    if RunFolder(world.bucket, submission.run).manifest.find_object() and not world.redis.exists(
        f"promptmill:run:{submission.run}"
    ):
        yield f"the index has not known the open run {submission.run} for {_SWEEPS} sweeps"


_SWEEPS = 5


def standing(world: World, wanted: list[Submission]) -> str:
    """Tell where the runs stand that are not over."""
    known = [snapshot.load_snapshot(world.bucket, one.run) for one in wanted]
    return "; ".join(
        f"{one.run}: {next_steps.next_steps(one)} {missing_chunks(one)}" for one in known
    )


def _check_rows(rows: list[Any], expected: Expected, where: str) -> Iterator[str]:
    seen = Counter(row["row"] for row in rows)
    wanted = set(expected.keys)
    yield from (f"{where}: row {row} is missing" for row in sorted(wanted - seen.keys()))
    yield from (f"{where}: row {row} is not of this run" for row in sorted(seen.keys() - wanted))
    yield from (
        f"{where}: row {row} is there {times} times" for row, times in seen.items() if times > 1
    )
    for row in rows:
        if row["row"] in wanted:
            yield from expected.compare(row, where)


def _check_aborted(world: World, submission: Submission, rows: list[Any]) -> Iterator[str]:
    """A run that was cancelled before it was whole has cost nothing."""
    if rows or any(request.labels["run"] == submission.run for request in world.vertex.requests):
        yield "a run was aborted after it was submitted"


def _sink_rows(world: World, submission: Submission) -> list[Any]:
    bucket = world.buckets.get(submission.sinks[0].url, MemoryBucket())
    files = [
        stored.name
        for stored in bucket.list(submission.run + "/")
        if stored.name.endswith(".jsonl")
    ]
    return [json.loads(line) for name in files for line in bucket.read(name).splitlines()]


def _check_reused(world: World, submission: Submission, rows: list[Any]) -> Iterator[str]:
    """What an earlier run has an answer to is not asked, if that was over when this one was sent."""
    earlier = submission.after
    if not earlier or not submission.reuse_answers or earlier.structured != submission.structured:
        return
    answered = [json.loads(line) for line in results.result_lines(world.bucket, earlier.run)]
    done = {
        text_of(earlier.prompts[row["row"] - 1]) for row in answered if row["state"] == "succeeded"
    }
    for row in rows:
        if (row.get("error") or {}).get("reason") in _ENDED_EARLY:
            continue  # an input that is written after the end of the run reuses nothing
        if text_of(submission.prompts[row["row"] - 1]) in done and row.get("attempt") != 0:
            yield f"row {row['row']} was answered by an earlier run, and ended anew: {row}"


def _check_bill(world: World, submission: Submission, report: Report) -> Iterator[str]:
    created = Counter(
        request.display_name
        for request in world.vertex.requests
        if request.labels["run"] == submission.run
    )
    yield from (f"{name} was created {times} times" for name, times in created.items() if times > 1)
    cancelled = RunFolder(world.bucket, submission.run).cancelled.find_object()
    for job in world.vertex.list(f'labels.run="{submission.run}"') if cancelled else ():
        if cancelled and job.create_time > cancelled.updated + _UNDER_WAY:
            yield f"{job.display_name} was created after the run was cancelled"
    if report.reused:
        world.faults.note("row: has the answer of an earlier run")
    if report.deduplicated:
        world.faults.note("row: has the answer of another that asks the same")
    if report.jobs != created.total():
        yield f"the report tells of {report.jobs} jobs, {created.total()} were created"


def _check_once(world: World, submission: Submission) -> Iterator[str]:
    """No job is asked the same twice."""
    for request in world.vertex.requests:
        if request.labels["run"] == submission.run:
            data = world.bucket.read(request.input_uri.removeprefix(world.bucket.url + "/"))
            asked = Counter(json.dumps(json.loads(line)["request"]) for line in data.splitlines())
            if twice := asked.total() - len(asked):
                yield f"{request.display_name} was asked {twice} times what it was asked already"


def _check_delays(world: World, submission: Submission) -> Iterator[str]:
    """No job is created before the delay is over that the attempt before it asked for."""
    run = RunFolder(world.bucket, submission.run)
    for job in world.vertex.list(f'labels.run="{submission.run}"'):
        shard, number = int(job.labels["shard"]), int(job.labels["attempt"])
        fact = run.attempt(shard, number - 1).settled
        stored = fact.find_object()
        delay = fact.get().delay if stored else None
        if not stored or not delay:
            continue
        world.faults.note("job: waits")
        if job.create_time < stored.updated + delay.seconds:
            yield f"{job.display_name} was created {stored.updated + delay.seconds - job.create_time} s early"


_UNDER_WAY = 100.0
"""Seconds for which a creation may be under way that did not yet know of a cancellation."""


def _check_report(report: Report, rows: list[Any], requests: int) -> Iterator[str]:
    succeeded = sum(row["state"] == "succeeded" for row in rows)
    failures = Counter(row["error"]["reason"] for row in rows if row["state"] == "failed")
    told = (report.requests, report.succeeded, report.failed, report.unaccounted, report.failures)
    found = (requests, succeeded, failures.total(), 0, dict(failures))
    if told != found:
        yield f"the report tells {told}, but there are {found}"


def _check_index(world: World, report: Report) -> Iterator[str]:
    reported = RunFolder(world.bucket, report.run).report.find_object()
    if reported is None or world.flushed_at > reported.updated:
        return
    try:
        status = world.services.index.get_status(report.run)
    except RunNotFound:
        yield f"the index does not know {report.run}, though Redis was not wiped since its end"
        return
    if (status.state, status.succeeded, status.failed) != (
        report.state,
        report.succeeded,
        report.failed,
    ):
        yield f"the index says {status}, the report {report}"
