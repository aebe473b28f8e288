"""What must be true of a run when it is over, whatever went wrong: judged by what Vertex was asked and what it wrote."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from faults.simulation.answers import answer
from faults.simulation.story import Submission
from faults.simulation.vertex import Work
from faults.simulation.world import World
from promptmill.config import names
from promptmill.config.errors import RunNotFound
from promptmill.producers.status import END_STATES, Report
from promptmill.workers import facts, results, steps
from promptmill.workers.fakes import MemoryBucket
from promptmill.workers.steps.due import missing_chunks


class Final(NamedTuple):
    """The final state of a row: whether it succeeded, and its text or the reason of its failure."""

    succeeded: bool
    words: str


def check(world: World, submission: Submission) -> Iterator[str]:
    """Yield what is wrong with a run that is over."""
    run, bucket = submission.run, world.bucket
    report = msgspec.json.decode(bucket.read(names.report(run)), type=Report)
    rows = [json.loads(line) for line in results.lines(bucket, run)]
    yield from _check_calls(world, submission, report)
    if bucket.find(names.aborted(run)) and not report.requests:
        yield from _check_aborted(world, submission, rows)
        return
    expected = _Expected(world, submission)
    yield from _check_rows(rows, expected, "results")
    if submission.sinks:
        yield from _check_rows(_sink_rows(world, submission), expected, "sink")
    yield from _check_bill(world, submission, report)
    yield from expected.check_late(rows)
    yield from _check_report(report, rows, len(submission.prompts))
    yield from _check_index(world, report)


def _check_calls(world: World, submission: Submission, report: Report) -> Iterator[str]:
    """Who wants to be called is, once or more, by one id; and of a good end or of a bad one."""
    calls = [call for call in world.called.sent if call.task_id.startswith(f"{submission.run}.link")]
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
        if state in END_STATES and world.bucket.find(names.report(one.run)) is None:
            yield f"run {one.run} is said to be {state}, but is not reported"


def _check_known(world: World, submission: Submission) -> Iterator[str]:
    """An open run of which Redis was wiped is written into the index by one of the next sweeps, once they come through."""
    quiet = max(world.flushed_at, world.shape.began + world.shape.faults_end)
    marked = world.bucket.find(names.open_marker(submission.run))
    if marked is None or world.now < max(quiet, marked.updated) + _SWEEPS * world.shape.settings.reconcile_interval:
        return
    if world.bucket.find(names.manifest(submission.run)) and not world.redis.exists(f"promptmill:run:{submission.run}"):
        yield f"the index has not known the open run {submission.run} for {_SWEEPS} sweeps"


_SWEEPS = 5


def standing(world: World, wanted: list[Submission]) -> str:
    """Tell where the runs stand that are not over."""
    known = [facts.load(world.bucket, one.run) for one in wanted]
    return "; ".join(f"{one.run}: {steps.due.next_steps(one)} {missing_chunks(one)}" for one in known)


def _check_rows(rows: list[Any], expected: "_Expected", where: str) -> Iterator[str]:
    seen = Counter(row["row"] for row in rows)
    wanted = set(expected.keys)
    yield from (f"{where}: row {row} is missing" for row in sorted(wanted - seen.keys()))
    yield from (f"{where}: row {row} is not of this run" for row in sorted(seen.keys() - wanted))
    yield from (f"{where}: row {row} is there {times} times" for row, times in seen.items() if times > 1)
    for row in rows:
        if row["row"] in wanted:
            yield from expected.compare(row, where)


def _check_aborted(world: World, submission: Submission, rows: list[Any]) -> Iterator[str]:
    """A run that was cancelled before it was whole has cost nothing."""
    if rows or any(request.labels["run"] == submission.run for request in world.vertex.requests):
        yield "a run was aborted after it was submitted"


def _sink_rows(world: World, submission: Submission) -> list[Any]:
    bucket = world.buckets.get(submission.sinks[0].url, MemoryBucket())
    files = [stored.name for stored in bucket.list(submission.run + "/") if stored.name.endswith(".jsonl")]
    return [json.loads(line) for name in files for line in bucket.read(name).splitlines()]


def _check_bill(world: World, submission: Submission, report: Report) -> Iterator[str]:
    created = Counter(
        request.display_name for request in world.vertex.requests if request.labels["run"] == submission.run
    )
    yield from (f"{name} was created {times} times" for name, times in created.items() if times > 1)
    cancelled = world.bucket.find(names.cancelled(submission.run))
    for job in world.vertex.list(f'labels.run="{submission.run}"') if cancelled else ():
        if cancelled and job.create_time > cancelled.updated + _UNDER_WAY:
            yield f"{job.display_name} was created after the run was cancelled"
    if report.jobs != created.total():
        yield f"the report tells of {report.jobs} jobs, {created.total()} were created"


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
    reported = world.bucket.find(names.report(report.run))
    if reported is None or world.flushed_at > reported.updated:
        return
    try:
        status = world.services.index.status(report.run)
    except RunNotFound:
        yield f"the index does not know {report.run}, though Redis was not wiped since its end"
        return
    if (status.state, status.succeeded, status.failed) != (report.state, report.succeeded, report.failed):
        yield f"the index says {status}, the report {report}"


class _Expected:
    """What the rows of a run must come to, by the lines that Vertex wrote, known by the prompts that they echo."""

    def __init__(self, world: World, submission: Submission) -> None:
        self._submission = submission
        self.keys = {row: _key(prompt, row) for row, prompt in enumerate(submission.prompts, 1)}
        self._rows = {_text(prompt): row for row, prompt in enumerate(submission.prompts, 1)}
        self._late: dict[int, list[str]] = defaultdict(list)
        self._bucket = world.bucket
        self._answers: dict[int, dict[int, list[str]]] = defaultdict(dict)
        for work in world.vertex.works:
            if work.request.labels["run"] == submission.run:
                self._note(work)

    def _note(self, work: Work) -> None:
        shard, attempt = int(work.request.labels["shard"]), int(work.request.labels["attempt"])
        place = names.shard(self._submission.run, shard, attempt)
        ended = facts.get(self._bucket, place + "ended.json", facts.Ended)
        for line in work.output:
            try:
                read = json.loads(line)
                row = self._rows[read["request"]["contents"][-1]["parts"][-1]["text"]]
            except (ValueError, KeyError, IndexError):
                continue
            if ended.by_hand:
                self._late[row].append(_reason(read))
            else:
                self._answers[row].setdefault(attempt, []).append(_reason(read))

    def check_late(self, rows: list[Any]) -> Iterator[str]:
        """Yield which answers of jobs that were given up were thrown away."""
        run = self._submission.run
        kept = [line for stored in self._bucket.list(names.late_folder(run)) for line in self._lines(stored.name)]
        told = {row["row"] for row in [*rows, *kept] if row["state"] == "succeeded"}
        late = {row for row, reasons in self._late.items() if "" in reasons}
        yield from (f"row {row} was answered late, and thrown away" for row in sorted(late - told))

    def _lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self._bucket.read(name).splitlines()]

    def compare(self, row: Any, where: str) -> Iterator[str]:
        """Yield how a result differs from what Vertex answered."""
        number = row["row"]
        prompt = self._submission.prompts[number - 1]
        if row["key"] != self.keys[number]:
            yield f"{where}: row {number} has key {row['key']}"
        found = row.get("text", "") if row["state"] == "succeeded" else row["error"]["reason"]
        answers = self._answers[number]
        if prompt == "":
            allowed = {"INVALID_REQUEST"}
        elif succeeded := [attempt for attempt, reasons in answers.items() if "" in reasons]:
            allowed = {str(answer({"contents": [{"parts": [{"text": _text(prompt)}]}]}))}
            if max(answers) > min(succeeded):
                yield f"row {number} was answered at attempt {min(succeeded)}, and asked again"
        else:
            allowed = _failures(answers) | set(self._late[number])
        if "" in self._late[number]:
            allowed |= {str(answer({"contents": [{"parts": [{"text": _text(prompt)}]}]})), *_OF_JOBS}
        if found not in allowed:
            yield f"{where}: row {number} ended as {found!r}, not {sorted(allowed)}; Vertex wrote {answers}"


_OF_JOBS = {
    "MISSING_ROW",
    "JOB_FAILED",
    "JOB_INTERRUPTED",
    "JOB_EXPIRED",
    "JOB_CANCELLED",
    "JOB_LOST",
    "DEADLINE_EXCEEDED",
}


def _failures(answers: dict[int, list[str]]) -> set[str]:
    """The reasons that a row without a success may have: that of the last attempt, which may have left it out."""
    lasting = {reason for reasons in answers.values() for reason in reasons} - {"RESOURCE_EXHAUSTED"}
    return lasting or {*_OF_JOBS, *(reason for reasons in answers.values() for reason in reasons)}


def _reason(line: Any) -> str:
    """Why a line of output is no answer; empty when it is one."""
    if line["status"]:
        return "RESOURCE_EXHAUSTED" if "429" in line["status"] else "INVALID_ARGUMENT"
    response = line["response"]
    if "promptFeedback" in response:
        return str(response["promptFeedback"]["blockReason"])
    reason = response["candidates"][0]["finishReason"]
    return "" if reason == "STOP" else str(reason)


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else str(prompt["prompt"])


def _key(prompt: Any, row: int) -> str:
    return str(row) if isinstance(prompt, str) else str(prompt.get("key", row))
