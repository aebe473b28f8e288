"""Removes everything that a live check created: jobs and objects."""

import time

from promptmill.config.errors import NotFound, PromptmillError
from promptmill.workers.live.evidence import Evidence, JobEvidence
from promptmill.workers.live.live_jobs import LiveJobs, LiveTimes
from promptmill.workers.ports.google import Bucket
from promptmill.workers.steps.poll import attempt_filters

_UNANSWERED_SECONDS = 20.0
"""How long to search a job whose creation was interrupted."""


class Cleanup:
    """Removes the jobs and objects of one check. Safe to repeat, and after any failure."""

    def __init__(
        self, bucket: Bucket, jobs: LiveJobs, evidence: Evidence, times: LiveTimes
    ) -> None:
        self._bucket, self._jobs, self._evidence, self._times = bucket, jobs, evidence, times
        self._left: list[str] = []

    def remove_all(self) -> list[str]:
        """Remove the jobs, then the objects. Return what is left, each with the reason."""
        self._left = []
        deadline = time.monotonic() + self._times.cleanup
        for job in (self._evidence.main, self._evidence.second):
            for name in self._find_names(job):
                self._remove_job(job, name, deadline)
        self._remove_objects()
        return self._left

    def _find_names(self, job: JobEvidence) -> list[str]:
        """Return the job's name. It is searched if the creation was not answered."""
        if job.name or job.is_refused or not job.output_uri:
            return [job.name] if job.name else []
        reason = "its creation was interrupted, and it is not listed yet"
        try:
            for _ in self._times.repeat_until(min(_UNANSWERED_SECONDS, self._times.visibility)):
                if names := list_own_jobs(self._jobs, job):
                    job.name = names[0]
                    return names
        except PromptmillError as error:
            reason = str(error)
        self._left.append(f"perhaps a job with the display name {job.display_name}: {reason}")
        return []

    def _remove_job(self, job: JobEvidence, name: str, deadline: float) -> None:
        try:
            if not self._end_job(name, deadline):
                self._left.append(f"job {name}: it was cancelled, but has not ended yet")
                return
            self._jobs.delete(name)
            waits = self._times.repeat_until(self._times.deletion)
            job.is_deleted = any(self._is_gone(name) for _ in waits)
        except NotFound:
            job.is_deleted = True
        except PromptmillError as error:
            self._left.append(f"job {name}: {error}")
        if job.is_deleted is False:
            self._left.append(f"job {name}: it was deleted, but still exists")

    def _end_job(self, name: str, deadline: float) -> bool:
        """Cancel a job unless it has ended, and wait for its end."""
        if self._has_ended(name):
            return True
        self._jobs.cancel(name)
        waits = self._times.repeat_until(deadline - time.monotonic())
        return any(self._has_ended(name) for _ in waits)

    def _has_ended(self, name: str) -> bool:
        return self._times.retry_call(lambda: self._jobs.get(name))[0].has_ended

    def _is_gone(self, name: str) -> bool:
        try:
            self._jobs.get(name)
        except NotFound:
            return True
        return False

    def _remove_objects(self) -> None:
        location = f"{self._bucket.url}/{self._evidence.folder}"
        try:
            for name in self._list_names():
                self._bucket.delete(name)
            self._left += [f"object {self._bucket.url}/{name}" for name in self._list_names()]
        except PromptmillError as error:
            self._left.append(f"objects in {location}: {error}")

    def _list_names(self) -> list[str]:
        return [found.name for found in self._bucket.list(self._evidence.folder)]


def list_own_jobs(jobs: LiveJobs, job: JobEvidence) -> list[str]:
    """Return the names of the jobs with the labels of ``job``.

    The labels are compared here again: a list may contain jobs of others, which must
    neither be cancelled nor deleted.
    """
    return [
        found.name
        for list_filter in attempt_filters(job.display_name, job.labels)
        for found in jobs.list(list_filter)
        if found.labels == job.labels
    ][:1]
