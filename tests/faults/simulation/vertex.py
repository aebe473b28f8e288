"""Vertex as the simulation has it: jobs that end in any way, with output that has anything wrong with it, and late."""

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from faults.simulation import answers
from faults.simulation.faults import Faults
from promptmill.config import names
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.fakes import FakeJobs, MemoryBucket, Script
from promptmill.workers.fakes.output import make_response
from promptmill.workers.ports.google import Job, JobRequest

_QUOTA = 'Too Many Requests: {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}'
_INVALID = 'Bad Request: {"error": {"code": 400, "message": "No", "status": "INVALID_ARGUMENT"}}'
_PROVISIONING = (
    'Bad Request: {"error": {"code": 400, "message": "Service agents are being provisioned", '
    '"status": "FAILED_PRECONDITION"}}'
)
_EXPORT = "Failed to export data. Error encountered during execution."
_ACCESS = "Service account a@b doesn't have sufficient permission"
_DATASET = "Failed to import data. Not found: Dataset a-tp:llm_bp_tenant_dataset_1 was not found"


class _End(NamedTuple):
    """How a job ends; a failed one writes its output only if it is ``exported``."""

    state: str
    code: int = 0
    message: str = "simulated"
    exported: bool = False

    @property
    def kind(self) -> str:
        words = self.message.split()[:3]
        return f"{self.state} {self.code}" + (f" {' '.join(words)}" if len(words) > 1 else "")


_ENDS = (
    _End("JOB_STATE_SUCCEEDED"),
    _End("JOB_STATE_SUCCEEDED"),
    _End("JOB_STATE_SUCCEEDED"),
    _End("JOB_STATE_SUCCEEDED"),
    _End("JOB_STATE_PARTIALLY_SUCCEEDED"),
    _End("JOB_STATE_EXPIRED"),
    _End("JOB_STATE_CANCELLED", 1),
    _End("JOB_STATE_FAILED", 13),
    _End("JOB_STATE_FAILED", 13, _EXPORT, exported=True),
    _End("JOB_STATE_FAILED", 7, _ACCESS, exported=True),
    _End("JOB_STATE_FAILED", 3, _DATASET),
    _End("JOB_STATE_FAILED", 3),
)
_STRANGE = (
    b'{"key":"somebody-1-else","request":{"contents":[]},"response":{}}',
    b'{"status":"","request":{"contents":[]},"resp',
    b"\x00\xff not JSON",
)


def _intruder(tag: str, row: int) -> bytes:
    """An answer that the run was never asked for, or not in this job."""
    line = {
        "key": f"{tag}-{row}-{row}",
        "status": "",
        "request": {"contents": []},
        "response": make_response("intruder"),
    }
    return json.dumps(line).encode()


def _row(line: bytes) -> int:
    return int(json.loads(line)["key"].split("-")[1])


class Work(NamedTuple):
    """What one job was asked, and the lines that it wrote."""

    request: JobRequest
    job: Job
    output: list[bytes]


class Vertex(FakeJobs):
    """``FakeJobs`` that disturbs each job in its own way, whatever the order in which they end."""

    def __init__(
        self,
        bucket: MemoryBucket,
        answer: Callable[[dict[str, Any]], Any],
        faults: Faults,
        seed: int,
        **options: Any,
    ) -> None:
        self.bucket: Any = _Late(bucket)
        super().__init__(self.bucket, answer, **options)  # type: ignore[arg-type]  # it only reads and writes
        self._facts = bucket
        self.works: list[Work] = []
        self._late_by: Callable[[Callable[[], None]], None] | None = None
        self._asked: dict[str, set[int]] = {}
        self._faults = faults
        self._seed = seed

    def be_late(self, late: Callable[[Callable[[], None]], None]) -> None:
        """Hand the output of jobs that succeed to ``late``, which lets it appear."""
        self._late_by = late

    def cancel(self, name: str) -> None:
        """Cancel a job, unless it is one that does not stop."""
        job = self.get(name)
        if self._is_stubborn(job) and not job.has_ended:
            self._faults.note("job: does not stop")
        else:
            super().cancel(name)

    def _duration_of(self, job: Job) -> float:
        return (
            self._chance(job, "lasts").uniform(600, 3000)
            if self._is_stubborn(job)
            else super()._duration_of(job)
        )

    def _is_known(self, name: str) -> bool:
        if self._is_forgotten(self._jobs[name][0]):
            self._faults.note("job: forgotten for a while")
            return False
        return super()._is_known(name)

    def _is_listed(self, name: str) -> bool:
        return not self._is_forgotten(self._jobs[name][0])

    def _is_stubborn(self, job: Job) -> bool:
        return self._chance(job, "stubborn").random() < self._faults.rates.disturbed / 15

    def _is_forgotten(self, job: Job) -> bool:
        """Whether nobody knows of a job now: for some minutes, after its name was written down."""
        chance = self._chance(job, "forgotten")
        if chance.random() > self._faults.rates.disturbed / 8:
            return False
        run, *numbers = (job.labels[label] for label in ("run", "shard", "attempt"))
        folder = RunFolder(self._facts, run).attempt(*map(int, numbers))
        written = folder.job.find_object()
        began = written.updated + chance.uniform(30, 100) if written else float("inf")
        return began <= self._clock() < began + chance.uniform(10, 900)

    def _chance(self, job: Job, what: str) -> random.Random:
        return random.Random(f"{self._seed} {what} {job.display_name}")

    def _run_job(self, job: Job, request: JobRequest) -> dict[str, Any]:
        rng = random.Random(f"{self._seed} {request.display_name}")
        asked = self._read_object(request.input_uri).splitlines()
        rows = [_row(line) for line in asked]
        if any(answers.heard(json.loads(line)["request"]) for line in asked):
            self._faults.note("answer: does not fit, asked for once more")
        self.script = (
            self._disturbed(rng, rows, request.labels)
            if rng.random() < self._faults.rates.disturbed
            else Script(seed=1)
        )
        self.bucket.written.clear()
        may_be_late = (
            "JOB_STATE_SUCCEEDED" in self.script.state or _EXPORT in self.script.error_message
        )
        self.bucket.late = self._late_by if may_be_late else None
        ended = super()._run_job(job, request)
        self.bucket.publish()
        lines = [line for _, data in self.bucket.written for line in data.split(b"\n") if line]
        self.works.append(Work(request, job, lines))
        return ended

    def _others(self, run: str, rows: list[int]) -> list[int]:
        """Return the rows that earlier jobs of the run were asked, and this one was not."""
        asked = self._asked.setdefault(run, set())
        others = sorted(asked.difference(rows))
        asked.update(rows)
        return others

    def _disturbed(self, rng: random.Random, rows: list[int], labels: dict[str, str]) -> Script:
        end = rng.choice(_ENDS)

        def some(kind: str, share: float) -> frozenset[int]:
            found = frozenset(row for row in range(len(rows)) if rng.random() < share)
            if found:
                self._faults.note(f"output: {kind}")
            return found if rng.random() < 0.6 else frozenset()

        self._faults.note(f"job: {end.kind}")
        done = 0.1 if end.state == "JOB_STATE_SUCCEEDED" else rng.choice((0.3, 1.0))
        statuses = self._statuses(rng, some("status", 0.2))
        strange = rng.sample(_STRANGE, rng.randint(0, 3))
        if strange:
            self._faults.note("output: strange lines")
        strange += [
            _intruder(names.tag(labels["run"]), row)
            for row in self._others(labels["run"], rows)
            if rng.random() < 0.2
        ]
        return Script(
            state=end.state,
            error_code=end.code,
            error_message=end.message if end.code else "",
            exported=end.exported,
            incremental=end.exported and rng.random() < 0.5,
            located=not end.exported or rng.random() < 0.5,
            missing=some("missing", done),
            duplicated=some("duplicated", 0.2),
            unkeyed=some("unkeyed", 0.2),
            statuses=statuses,
            strange=tuple(strange),
            files=rng.randint(1, 3),
            seed=rng.randrange(1000),
            truncated=rng.random() < 0.2,
        )

    def _statuses(self, rng: random.Random, rows: frozenset[int]) -> dict[int, str]:
        """Return the errors of rows, in some jobs only that of a new project."""
        kinds = rng.choice(((_QUOTA, _INVALID, _PROVISIONING), (_PROVISIONING,)))
        statuses = {row: rng.choice(kinds) for row in sorted(rows)}
        if _PROVISIONING in statuses.values():
            self._faults.note("output: provisioning")
        return statuses


class _Late:
    """The bucket as Vertex writes it; remembers what was written."""

    def __init__(self, bucket: MemoryBucket) -> None:
        self.url = bucket.url
        self.read = bucket.read
        self.written: list[tuple[str, bytes]] = []
        self._bucket = bucket
        self.late: Callable[[Callable[[], None]], None] | None = None

    def write(self, name: str, data: bytes) -> None:
        self.written.append((name, data))

    def publish(self) -> None:
        """Let all files of a job appear, at once; late if it is so."""
        files = list(self.written)

        def appear() -> None:
            for name, data in files:
                self._bucket.write(name, data)

        if self.late and files:
            self.late(appear)
        else:
            appear()
