"""What the rows of a run must come to, by the lines that Vertex wrote."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from faults.simulation import answers
from faults.simulation.story import Submission
from faults.simulation.vertex import Work
from faults.simulation.world import World
from promptmill.workers.facts import records
from promptmill.workers.facts.run_folder import RunFolder


class Expected:
    """What the rows of a run must come to, by the lines that Vertex wrote, known by the prompts that they echo."""

    def __init__(self, world: World, submission: Submission) -> None:
        self._submission = submission
        self.keys = {row: _key(prompt, row) for row, prompt in enumerate(submission.prompts, 1)}
        self._plan = RunFolder(world.bucket, submission.run).plan.get()
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, prompt in enumerate(submission.prompts, 1):
            self._rows[text_of(prompt)].append(row)
        self._late: dict[int, list[str]] = defaultdict(list)
        self._bucket = world.bucket
        self._answers: dict[int, dict[int, list[str]]] = defaultdict(dict)
        self._heard: dict[int, dict[int, bool]] = defaultdict(dict)
        self._invalid: dict[int, set[int]] = defaultdict(set)
        self._tried_by_hand = 0
        self._is_cancelled = RunFolder(world.bucket, submission.run).cancelled.exists()
        for work in world.vertex.works:
            if work.request.labels["run"] == submission.run:
                self._note(work)

    def _note(self, work: Work) -> None:
        shard, attempt = int(work.request.labels["shard"]), int(work.request.labels["attempt"])
        folder = RunFolder(self._bucket, self._submission.run).attempt(shard, attempt)
        ended = folder.ended.get()
        self._tried_by_hand += ended.retry
        for line in work.output:
            try:
                read = json.loads(line)
                rows = self._rows[read["request"]["contents"][0]["parts"][0]["text"]]
            except (ValueError, KeyError, IndexError):
                continue
            for row in _within(self._plan.shards[shard], rows):
                self._note_line(row, attempt, read, by_hand=ended.by_hand)

    def _note_line(self, row: int, attempt: int, read: Any, *, by_hand: bool) -> None:
        """Note a line of output that answers a row: its own, or that of a row that asks the same."""
        reason = self._reason(read)
        if reason == "SCHEMA_INVALID":
            self._invalid[row].add(attempt)
        if by_hand:
            self._late[row].append(reason)
        else:
            self._answers[row].setdefault(attempt, []).append(reason)
            self._heard[row][attempt] = answers.heard(read["request"])

    def _reason(self, line: Any) -> str:
        """Why a line of output is no answer; empty when it is one."""
        reason = _reason(line)
        if reason or not self._submission.structured:
            return reason
        return (
            ""
            if answers.fits(line["response"]["candidates"][0]["content"]["parts"][0]["text"])
            else "SCHEMA_INVALID"
        )

    def check_late(self, rows: list[Any]) -> Iterator[str]:
        """Yield which answers of jobs that were given up were thrown away."""
        run = self._submission.run
        kept = [
            line
            for stored in self._bucket.list(RunFolder(self._bucket, run).late_folder)
            for line in self._lines(stored.name)
        ]
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
        written = self._answers[number]
        good = (
            ""
            if prompt == ""
            else answers.good(text_of(prompt), structured=self._submission.structured)
        )
        if row.get("attempt") == 0:
            yield from self._check_reused(row, where)
            return
        yield from self._check_repair(number)
        yield from self._check_attempts(number, found)
        if (
            row["state"] == "succeeded"
            and self._submission.structured
            and row.get("parsed") != json.loads(found)
        ):
            yield f"{where}: row {number} is parsed as {row.get('parsed')}, not {found}"
        if prompt == "":
            allowed = {"INVALID_REQUEST"}
        elif succeeded := [attempt for attempt, reasons in written.items() if "" in reasons]:
            allowed = {good}
            if max(written) > min(succeeded):
                yield f"row {number} was answered at attempt {min(succeeded)}, and asked again"
        else:
            allowed = self._failures(written) | set(self._late[number])
        if "" in self._late[number]:
            allowed |= {good, *_OF_JOBS}
        if found not in allowed:
            yield f"{where}: row {number} ended as {found!r}, not {sorted(allowed)}; Vertex wrote {written}"

    def _check_reused(self, row: Any, where: str) -> Iterator[str]:
        """An answer of an earlier run is what this one would be given, and is not asked for."""
        number = row["row"]
        good = answers.good(
            text_of(self._submission.prompts[number - 1]), structured=self._submission.structured
        )
        if (
            not self._submission.reuse_answers
            or row["state"] != "succeeded"
            or row["text"] != good
            or row.get("usage")
        ):
            yield f"{where}: row {number} has an answer of an earlier run: {row}"
        if self._answers[number] or self._late[number]:
            yield f"row {number} has an answer of an earlier run, and was asked again"

    def _check_attempts(self, number: int, found: str) -> Iterator[str]:
        """What was not billed is asked again, even at the last attempt, and uses up no attempt."""
        billed = [
            attempt
            for attempt, reasons in self._answers[number].items()
            if set(reasons) != {_UNBILLED}
        ]
        if len(billed) > self._submission.max_attempts + self._tried_by_hand:
            yield f"row {number} was billed at the attempts {billed}"
        if found == _UNBILLED and not self._is_cancelled:
            yield f"row {number} failed although it was not billed"

    def _check_repair(self, number: int) -> Iterator[str]:
        """A row that did not fit is asked for once more, and hears what was wrong in whatever is asked after that."""
        written, heard = self._answers[number], self._heard[number]
        invalid = [
            attempt for attempt, reasons in sorted(written.items()) if "SCHEMA_INVALID" in reasons
        ]
        for attempt in invalid:
            if later := [one for one in written if one > attempt]:
                if heard[attempt] or not self._submission.retry_schema_invalid:
                    yield f"row {number} did not fit at attempt {attempt}, and was asked for again"
                if not all(heard[one] for one in later):
                    yield f"row {number} was asked for again after attempt {attempt}, and not told what was wrong"
        # Of a job that was lost and tried again, what it had written is taken too.
        if any(
            asked and not any(one < attempt for one in self._invalid[number])
            for attempt, asked in heard.items()
        ):
            yield f"row {number} was told of something wrong that there was not"

    def _failures(self, written: dict[int, list[str]]) -> set[str]:
        """The reasons that a row without a success may have: that of the last attempt, which may have left it out."""
        passing = {"RESOURCE_EXHAUSTED", _UNBILLED} | (
            {"SCHEMA_INVALID"} if self._submission.retry_schema_invalid else set()
        )
        every = {reason for reasons in written.values() for reason in reasons}
        return every - passing or {*_OF_JOBS, *every}


_UNBILLED = "FAILED_PRECONDITION"
_OF_JOBS = {
    "MISSING_ROW",
    "UNREADABLE_RESPONSE",  # the row is missing, and lines name no row
    "JOB_FAILED",
    "JOB_INTERRUPTED",
    "JOB_EXPIRED",
    "JOB_CANCELLED",
    "JOB_LOST",
    "DEADLINE_EXCEEDED",
}


def _reason(line: Any) -> str:
    """Why a line of output is no answer; empty when it is one."""
    if "provisioned" in line["status"]:
        return _UNBILLED
    if line["status"]:
        return "RESOURCE_EXHAUSTED" if "429" in line["status"] else "INVALID_ARGUMENT"
    response = line["response"]
    if "promptFeedback" in response:
        return str(response["promptFeedback"]["blockReason"])
    reason = response["candidates"][0]["finishReason"]
    return "" if reason == "STOP" else str(reason)


def _within(shard: records.ShardPlan, rows: list[int]) -> list[int]:
    return [row for row in rows if shard.first_row <= row < shard.first_row + shard.requests]


def text_of(prompt: Any) -> str:
    """Return what a prompt asks."""
    return prompt if isinstance(prompt, str) else str(prompt["prompt"])


def _key(prompt: Any, row: int) -> str:
    return str(row) if isinstance(prompt, str) else str(prompt.get("key", row))
