"""Vertex's batch prediction jobs in memory."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from promptmill.config.errors import NotFound, Permanent, PromptmillError, Unanswered
from promptmill.workers.fakes.bucket import Clock
from promptmill.workers.fakes.output import Answer, Script, echo, output_files
from promptmill.workers.ports.google import Bucket, Job, JobRequest


class FakeJobs:
    """``BatchJobs`` in memory, safe for threads: a job reads its input from ``bucket`` and writes its output there.

    A job ends ``duration`` seconds after its creation by ``clock``, as ``script`` says. Models whose name does not start
    with ``gemini`` do not exist.
    """

    def __init__(
        self,
        bucket: Bucket,
        answer: Answer = echo,
        *,
        script: Script | None = None,
        duration: float = 0.0,
        clock: Clock = time.time,
        parent: str = "projects/fake/locations/global",
    ) -> None:
        self.script = script or Script()
        self.requests: list[JobRequest] = []
        self._bucket, self._answer, self._clock, self._parent = bucket, answer, clock, parent
        self._duration, self._listed_after = duration, 0.0
        self._jobs: dict[str, tuple[Job, JobRequest]] = {}
        self._deaf = False
        self._forgotten: dict[str, bool] = {}
        self._troubles: deque[PromptmillError] = deque()
        self._lock = threading.Lock()

    def refuse_next(self, error: PromptmillError) -> None:
        """Let the next creation without another trouble create nothing, and raise ``error``."""
        self._troubles.append(error)

    def lose_next_answer(self) -> None:
        """Let the next creation without another trouble create a job, and raise Unanswered."""
        self._troubles.append(_AnswerLost("Vertex: the answer was lost"))

    def hide_new_jobs(self, seconds: float) -> None:
        """Let ``list`` know no job before it is so old."""
        self._listed_after = seconds

    def ignore_cancellations(self, ignored: bool = True) -> None:
        """Let jobs that are asked to stop go on, or stop again."""
        self._deaf = ignored

    def forget(self, name: str, *, listed: bool = False) -> None:
        """Let ``get``, and unless it is ``listed`` also ``list``, not know a job until it is recalled."""
        self._forgotten[name] = listed

    def recall(self, name: str) -> None:
        """Let a job that was forgotten be known again."""
        del self._forgotten[name]

    def create(self, request: JobRequest) -> Job:
        """Create a job. ``requests`` has what every job was created with."""
        if not request.model.rpartition("/")[2].startswith("gemini"):
            raise NotFound(f"Vertex: 404 model {request.model} does not exist")
        with self._lock:
            error = self._troubles.popleft() if self._troubles else None
            if error and not isinstance(error, _AnswerLost):
                raise error
            job = self._add(request)
        if error:
            raise error
        return job

    def get(self, name: str) -> Job:
        """Return a job; raises NotFound."""
        with self._lock:
            if not self._knows(name):
                raise NotFound(f"Vertex: 404 {name} does not exist")
            return self._now(name)

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        """Return the jobs that pass the filter, newest first; raises Permanent for one that is not understood."""
        tests = [_read_filter(term) for term in filter.split(" AND ")] if filter else []
        limit = self._clock() - self._listed_after
        with self._lock:
            jobs = [self._now(name) for name in reversed(self._jobs) if self._lists(name)]
        return (job for job in jobs if job.create_time <= limit and all(test(job) for test in tests))

    def cancel(self, name: str) -> None:
        """Cancel a job: it ends at once, without output, unless it has ended or cancellations are ignored."""
        job = self.get(name)
        if not (job.ended or self._deaf):
            with self._lock:
                self._end(name, state="JOB_STATE_CANCELLED", end_time=self._clock())

    def _add(self, request: JobRequest) -> Job:
        name = f"{self._parent}/batchPredictionJobs/{len(self._jobs) + 1}"
        job = Job(name, "JOB_STATE_PENDING", request.display_name, dict(request.labels), self._clock())
        self._jobs[name] = (job, request)
        self.requests.append(request)
        return job

    def _now(self, name: str) -> Job:
        """Return the job as it is by the clock, having done its work when its time has come."""
        job, request = self._jobs[name]
        end = job.create_time + self._lasts(job)
        if job.ended:
            return job
        if self._clock() < end:
            return msgspec.structs.replace(job, state="JOB_STATE_RUNNING", start_time=job.create_time)
        return self._end(name, start_time=job.create_time, end_time=end, **self._run(job, request))

    def _knows(self, name: str) -> bool:
        return name in self._jobs and name not in self._forgotten

    def _lists(self, name: str) -> bool:
        return self._forgotten.get(name, True)

    def _lasts(self, job: Job) -> float:  # noqa: ARG002 - others may know of jobs that last longer
        return self._duration

    def _end(self, name: str, **fields: Any) -> Job:
        job, request = self._jobs[name]
        self._jobs[name] = (msgspec.structs.replace(job, **fields), request)
        return self._jobs[name][0]

    def _run(self, job: Job, request: JobRequest) -> dict[str, Any]:
        """Read, answer and write; returns how the job ended."""
        script = self.script
        ending = {"state": script.state, "error_code": script.error_code, "error_message": script.error_message}
        if script.state == "JOB_STATE_FAILED":
            return ending
        try:
            rows = [msgspec.json.decode(line) for line in self._read(request.input_uri).split(b"\n") if line]
        except NotFound as error:
            return {"state": "JOB_STATE_FAILED", "error_code": 5, "error_message": str(error)}
        except msgspec.DecodeError as error:
            words = f"Failed to import data. {error}"
            return {"state": "JOB_STATE_FAILED", "error_code": 3, "error_message": words}
        started = datetime.fromtimestamp(job.create_time, UTC).isoformat(timespec="microseconds")
        directory = f"{request.output_uri}/prediction-model-{started.removesuffix('+00:00')}Z"
        for name, data in output_files(rows, self._answer, script):
            self._bucket.write(f"{self._path(directory)}/{name}", data)
        failed = sum(place < len(rows) and place not in script.missing for place in script.statuses)
        missing = sum(place < len(rows) for place in script.missing)
        return ending | {
            "output_directory": directory,
            "successful_count": len(rows) - missing - failed,
            "failed_count": failed,
        }

    def _read(self, uri: str) -> bytes:
        return self._bucket.read(self._path(uri))

    def _path(self, uri: str) -> str:
        if not uri.startswith(self._bucket.url + "/"):
            raise NotFound(f"{uri} is not in {self._bucket.url}")
        return uri.removeprefix(self._bucket.url + "/")


class _AnswerLost(Unanswered):
    """The job was created."""


_TERM = re.compile(r'(labels\.[\w-]+|display_name|state)(!?=)"([^"]*)"')


def _read_filter(term: str) -> Callable[[Job], bool]:
    """Read one term of a filter: labels, display name and state, compared with = or !=; raises Permanent."""
    found = _TERM.fullmatch(term.strip())
    if found is None:
        raise Permanent(f"Vertex: 400 Invalid filter: {term}")
    name, sign, value = found.groups()

    def test(job: Job) -> bool:
        if name.startswith("labels."):
            held = job.labels.get(name.removeprefix("labels."))
        else:
            held = job.display_name if name == "display_name" else job.state
        return (held == value) == (sign == "=")

    return test
