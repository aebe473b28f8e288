"""Runs the two jobs of the live check, and observes them."""

import time
from collections.abc import Callable

from promptmill.config.errors import OutcomeUnknown, PromptmillError
from promptmill.config.json_types import JsonObject
from promptmill.workers.live.cleanup import list_own_jobs
from promptmill.workers.live.evidence import (
    JOB_NAMES,
    MAIN,
    SECOND,
    Evidence,
    JobEvidence,
    OutputFile,
)
from promptmill.workers.live.live_jobs import LiveJobs, LiveTimes
from promptmill.workers.ports.google import TERMINAL_STATES, Bucket, Job, JobRequest
from promptmill.workers.steps.poll import attempt_filters


class LiveSession:
    """Creates the two jobs of a live check, and adds what it observes to ``evidence``."""

    def __init__(
        self,
        bucket: Bucket,
        jobs: LiveJobs,
        evidence: Evidence,
        times: LiveTimes,
        on_progress: Callable[[str], None],
    ) -> None:
        self.evidence = evidence
        self._bucket, self._jobs, self._times = bucket, jobs, times
        self._on_progress = on_progress
        self._created: dict[str, float] = {}
        self._folder = evidence.folder
        evidence.visibility_seconds, evidence.cancel_limit_seconds = times.visibility, times.cancel

    def run_jobs(self) -> None:
        """Create both jobs, cancel the second, and wait for their ends and the output.

        Raises PromptmillError if Google refuses a call that the check depends on.
        """
        self._probe_bucket()
        self._create_job(MAIN)
        self._await_visibility(self.evidence.main)
        self._create_job(SECOND)
        self._cancel_second()
        self._await_ends()
        self._read_output()
        self._compare_filters()

    def _probe_bucket(self) -> None:
        name, found = self._folder + "probe", self.evidence.bucket
        self._bucket.create(name, b"1")
        found.has_listed_object = name in self._list_names(self._folder)
        found.has_refused_second_write = not self._bucket.create(name, b"2")

    def _create_job(self, job_name: str) -> None:
        job = self.evidence.get_job(job_name)
        input_name = f"{self._folder}{job_name}.jsonl"
        self._bucket.write(input_name, "".join(line + "\n" for line in job.rows).encode())
        job.output_uri = f"{self._bucket.url}/{self._folder}{job_name}-output"
        model = self.evidence.model
        request = JobRequest(
            job.display_name, model, f"{self._bucket.url}/{input_name}", job.output_uri, job.labels
        )
        self._created[job_name] = time.monotonic()
        created, resource = self._create_or_find(job, request)
        job.name = created.name
        self._on_progress(f"{job_name} job created")
        self._record_resource(job_name, resource)

    def _create_or_find(self, job: JobEvidence, request: JobRequest) -> tuple[Job, JsonObject]:
        """Create a job; after a lost response, search it as the product does."""
        try:
            return self._jobs.create(request)
        except OutcomeUnknown:
            for _ in self._times.repeat_until(self._times.visibility):
                if names := list_own_jobs(self._jobs, job):
                    return self._jobs.get(names[0])
            raise
        except PromptmillError:
            job.is_refused = True
            raise

    def _await_visibility(self, job: JobEvidence) -> None:
        started = time.monotonic()
        labels_filter = next(attempt_filters(job.display_name, job.labels))
        for _ in self._times.repeat_until(self._times.visibility):
            if job.name in self._list_jobs(labels_filter):
                job.visible_seconds = round(time.monotonic() - started, 2)
                return

    def _cancel_second(self) -> None:
        self._jobs.cancel(self.evidence.second.name)
        self.evidence.second.cancel_seconds = self._age_of(SECOND)

    def _await_ends(self) -> None:
        open_names = set(JOB_NAMES)
        for _ in self._times.repeat_until(self._times.total):
            for name in sorted(open_names):
                self._poll_job(name)
            self._report_states()
            open_names = {name for name in open_names if not self._has_ended(name)}
            if not open_names or (open_names == {SECOND} and self._is_cancel_overdue()):
                return

    def _poll_job(self, job_name: str) -> None:
        name = self.evidence.get_job(job_name).name
        _, resource = self._times.retry_call(lambda: self._jobs.get(name))
        self._record_resource(job_name, resource)

    def _record_resource(self, job_name: str, resource: JsonObject) -> None:
        """Keep a resource if its state is new; a last one may replace that of its state."""
        job, age = self.evidence.get_job(job_name), self._age_of(job_name)
        if resource.get("state") != job.last_state:
            job.resources.append(resource)
            job.seconds.append(age)
        elif job.last_state not in TERMINAL_STATES:
            job.resources[-1] = resource
            job.seconds[-1] = age

    def _report_states(self) -> None:
        jobs = {name: self.evidence.get_job(name) for name in JOB_NAMES}
        self._on_progress(
            ", ".join(
                f"{name} job {job.last_state.removeprefix('JOB_STATE_')}"
                for name, job in jobs.items()
            )
        )

    def _has_ended(self, job_name: str) -> bool:
        return self.evidence.get_job(job_name).last_state in TERMINAL_STATES

    def _is_cancel_overdue(self) -> bool:
        cancelled = self.evidence.second.cancel_seconds or 0.0
        return self._age_of(SECOND) - cancelled > self._times.cancel

    def _read_output(self) -> None:
        """Read everything below the main job's output folder, whatever its name."""
        if not self._has_ended(MAIN):
            return
        prefix = f"{self._folder}{MAIN}-output/"
        self.evidence.files = [
            OutputFile(name.removeprefix(prefix), self._read_lines(name))
            for name in self._list_names(prefix)
        ]

    def _read_lines(self, name: str) -> list[str]:
        text = self._bucket.read(name).decode("utf-8", "replace")
        return [line for line in text.split("\n") if line.strip()]

    def _compare_filters(self) -> None:
        for job in (self.evidence.main, self.evidence.second):
            filters = attempt_filters(job.display_name, job.labels)
            for kind, list_filter in zip(("labels", "display_name"), filters, strict=True):
                job.found_by[kind] = self._list_jobs(list_filter)

    def _list_jobs(self, list_filter: str) -> list[str]:
        listed = self._times.retry_call(lambda: self._jobs.list(list_filter))
        return [job.name for job in listed]

    def _list_names(self, prefix: str) -> list[str]:
        return [found.name for found in self._bucket.list(prefix)]

    def _age_of(self, job_name: str) -> float:
        return round(time.monotonic() - self._created[job_name], 2)
