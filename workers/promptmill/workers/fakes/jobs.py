"""Vertex's batch prediction jobs in memory."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec

from promptmill.config.errors import NotFound, OutcomeUnknown, Permanent, PromptmillError
from promptmill.workers.fakes.bucket import Clock
from promptmill.workers.fakes.output import JsonObject, Responder, Script, echo_prompt, output_files
from promptmill.workers.ports.google import Bucket, Job, JobRequest


class FakeJobs:
    """Thread-safe ``BatchJobs`` in memory. Jobs read and write ``bucket``.

    A job ends ``duration`` seconds after its creation by ``clock``, as ``script`` says.
    Models whose name does not start with ``gemini`` do not exist.
    """

    def __init__(
        self,
        bucket: Bucket,
        answer: Responder = echo_prompt,
        *,
        script: Script | None = None,
        duration: float = 0.0,
        clock: Clock = time.time,
        parent: str = "projects/fake/locations/global",
    ) -> None:
        self.script = script or Script()
        self.requests: list[JobRequest] = []
        self._bucket, self._answer, self._clock, self._parent = bucket, answer, clock, parent
        self._duration, self._list_delay = duration, 0.0
        self._jobs: dict[str, tuple[Job, JobRequest]] = {}
        self._ignores_cancellations = False
        self._forgotten_jobs: dict[str, bool] = {}
        self._next_errors: deque[PromptmillError] = deque()
        self._next_scripts: deque[Script] = deque()
        self._lock = threading.Lock()

    def refuse_next(self, error: PromptmillError) -> None:
        """Make the next creation fail with ``error``. No job is created."""
        self._next_errors.append(error)

    def script_next(self, *scripts: Script) -> None:
        """Make the next jobs that run follow these scripts, one each, and then ``script``."""
        self._next_scripts.extend(scripts)

    def lose_next_response(self) -> None:
        """Make the next creation create a job, but raise OutcomeUnknown."""
        self._next_errors.append(_ResponseLost("Vertex: the response was lost"))

    def hide_new_jobs(self, seconds: float) -> None:
        """Make ``list`` leave out jobs younger than this."""
        self._list_delay = seconds

    def ignore_cancellations(self, ignored: bool = True) -> None:
        """Make jobs ignore cancellations, or obey them again."""
        self._ignores_cancellations = ignored

    def forget_job(self, name: str, *, listed: bool = False) -> None:
        """Make ``get`` raise NotFound for a job. ``list`` also leaves it out unless ``listed``."""
        self._forgotten_jobs[name] = listed

    def recall_job(self, name: str) -> None:
        """Undo ``forget_job``."""
        del self._forgotten_jobs[name]

    def create(self, request: JobRequest) -> Job:
        """Create a job. ``requests`` has what every job was created with."""
        if not request.model.rpartition("/")[2].startswith("gemini"):
            raise NotFound(f"Vertex: 404 model {request.model} does not exist")
        with self._lock:
            error = self._next_errors.popleft() if self._next_errors else None
            if error and not isinstance(error, _ResponseLost):
                raise error
            job = self._add_job(request)
        if error:
            raise error
        return job

    def get(self, name: str) -> Job:
        """Return a job; raises NotFound."""
        with self._lock:
            if not self._is_known(name):
                raise NotFound(f"Vertex: 404 {name} does not exist")
            return self._refresh_job(name)

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        """Return the jobs that match the filter, newest first. Raises Permanent."""
        conditions = [_parse_filter_term(term) for term in filter.split(" AND ")] if filter else []
        newest_visible = self._clock() - self._list_delay
        with self._lock:
            jobs = [
                self._refresh_job(name) for name in reversed(self._jobs) if self._is_listed(name)
            ]
        return (
            job
            for job in jobs
            if job.create_time <= newest_visible and all(condition(job) for condition in conditions)
        )

    def cancel(self, name: str) -> None:
        """End a job without output, unless it has ended or ignores cancellations."""
        job = self.get(name)
        if not (job.has_ended or self._ignores_cancellations):
            with self._lock:
                self._end_job(name, state="JOB_STATE_CANCELLED", end_time=self._clock())

    def _add_job(self, request: JobRequest) -> Job:
        name = f"{self._parent}/batchPredictionJobs/{len(self._jobs) + 1}"
        labels = dict(request.labels)
        job = Job(name, "JOB_STATE_PENDING", request.display_name, labels, self._clock())
        self._jobs[name] = (job, request)
        self.requests.append(request)
        return job

    def _refresh_job(self, name: str) -> Job:
        """Return the job's state by the clock. A job that is due runs first."""
        job, request = self._jobs[name]
        end = job.create_time + self._duration_of(job)
        if job.has_ended:
            return job
        if self._clock() < end:
            return msgspec.structs.replace(
                job, state="JOB_STATE_RUNNING", start_time=job.create_time
            )
        return self._end_job(
            name, start_time=job.create_time, end_time=end, **self._run_job(job, request)
        )

    def _is_known(self, name: str) -> bool:
        return name in self._jobs and name not in self._forgotten_jobs

    def _is_listed(self, name: str) -> bool:
        return self._forgotten_jobs.get(name, True)

    def _duration_of(self, job: Job) -> float:  # noqa: ARG002 - for subclasses
        return self._duration

    def _end_job(self, name: str, **fields: object) -> Job:
        job, request = self._jobs[name]
        self._jobs[name] = (msgspec.structs.replace(job, **fields), request)
        return self._jobs[name][0]

    def _run_job(self, job: Job, request: JobRequest) -> dict[str, object]:
        """Read the input and write the output. Returns the fields of the end."""
        script = self._next_scripts.popleft() if self._next_scripts else self.script
        outcome = {
            "state": script.state,
            "error_code": script.error_code,
            "error_message": script.error_message,
        }
        if script.state == "JOB_STATE_FAILED" and not script.exported:
            return outcome
        try:
            rows = _decode_rows(self._read_object(request.input_uri))
        except NotFound as error:
            return {"state": "JOB_STATE_FAILED", "error_code": 5, "error_message": str(error)}
        except msgspec.DecodeError as error:
            message = f"Failed to import data. {error}"
            return {"state": "JOB_STATE_FAILED", "error_code": 3, "error_message": message}
        directory = f"{request.output_uri}/{_directory_name(job.create_time)}"
        for name, data in output_files(rows, self._answer, script):
            self._bucket.write(f"{self._object_name(directory)}/{name}", data)
        location = {"output_directory": directory} if script.located else {}
        return {**outcome, **location, **_count_answers(len(rows), script)}

    def _read_object(self, uri: str) -> bytes:
        return self._bucket.read(self._object_name(uri))

    def _object_name(self, uri: str) -> str:
        if not uri.startswith(self._bucket.url + "/"):
            raise NotFound(f"{uri} is not in {self._bucket.url}")
        return uri.removeprefix(self._bucket.url + "/")


class _ResponseLost(OutcomeUnknown):
    """The job was created."""


_FILTER_TERM = re.compile(r'(labels\.[\w-]+|display_name|state)(!?=)"([^"]*)"')


def _parse_filter_term(term: str) -> Callable[[Job], bool]:
    """Parse a term of a filter: a label, display name or state, with = or !=."""
    match = _FILTER_TERM.fullmatch(term.strip())
    if match is None:
        raise Permanent(f"Vertex: 400 Invalid filter: {term}")
    name, operator, value = match.groups()
    return lambda job: (_filtered_value(job, name) == value) == (operator == "=")


def _filtered_value(job: Job, name: str) -> str | None:
    if name.startswith("labels."):
        return job.labels.get(name.removeprefix("labels."))
    return job.display_name if name == "display_name" else job.state


def _directory_name(moment: float) -> str:
    start_time = datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")
    return f"prediction-model-{start_time.removesuffix('+00:00')}Z"


def _count_answers(row_count: int, script: Script) -> dict[str, int]:
    answered = set(range(row_count)) - script.missing
    failed = len(answered & script.statuses.keys())
    return {"successful_count": len(answered) - failed, "failed_count": failed}


def _decode_rows(data: bytes) -> list[JsonObject]:
    return [msgspec.json.decode(line) for line in data.split(b"\n") if line]
