"""All jobs, kept in memory and, given a folder, as one small JSON file each."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from .jobs import Job


class JobRegistry:
    """Jobs by name. Thread-safe: calls and the work of jobs meet here."""

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._load_jobs(folder)

    def find_job(self, name: str) -> Job | None:
        """The job of that resource name, deleted or not."""
        return self._jobs.get(name)

    def list_jobs(self) -> list[Job]:
        """Every job that ever was, deleted ones too."""
        with self._lock:
            return list(self._jobs.values())

    def add_job(self, job: Job) -> None:
        """Take in a new job."""
        with self._lock:
            self._store_job(job)

    def update_job(self, name: str, change: Callable[[Job], Job]) -> Job:
        """Change a job in one step; returns the changed one."""
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
