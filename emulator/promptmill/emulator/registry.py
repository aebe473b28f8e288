"""Stores all jobs in memory, and optionally as JSON files in a folder."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from .jobs import Job


class JobRegistry:
    """Jobs by name. Thread-safe: used by calls and by executions."""

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._load_jobs(folder)

    def find_job(self, name: str) -> Job | None:
        """Return the job with this resource name, deleted or not."""
        return self._jobs.get(name)

    def list_jobs(self) -> list[Job]:
        """Return all jobs, deleted ones included."""
        with self._lock:
            return list(self._jobs.values())

    def add_job(self, job: Job) -> None:
        """Add a new job."""
        with self._lock:
            self._store_job(job)

    def update_job(self, name: str, change: Callable[[Job], Job]) -> Job:
        """Change a job atomically and return it."""
        with self._lock:
            job = change(self._jobs[name])
            self._store_job(job)
            return job

    def _store_job(self, job: Job) -> None:
        self._jobs[job.name] = job
        if self._folder is not None:
            file = self._folder / f"{job.id}.json"
            new_file = file.with_suffix(".new")
            new_file.write_bytes(msgspec.json.encode(job))
            new_file.replace(file)

    def _load_jobs(self, folder: Path) -> None:
        jobs = [msgspec.json.decode(file.read_bytes(), type=Job) for file in folder.glob("*.json")]
        self._jobs = {job.name: job for job in sorted(jobs, key=lambda job: job.created)}
