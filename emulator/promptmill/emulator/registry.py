"""All jobs, kept in memory and, given a folder, as one small JSON file each."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from .jobs import Job


class Registry:
    """Jobs by name. Thread-safe: calls and the work of jobs meet here."""

    def __init__(self, folder: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._load(folder)

    def find(self, name: str) -> Job | None:
        """The job of that resource name, deleted or not."""
        return self._jobs.get(name)

    def all(self) -> list[Job]:
        """Every job that ever was, deleted ones too."""
        with self._lock:
            return list(self._jobs.values())

    def add(self, job: Job) -> None:
        """Take in a new job."""
        with self._lock:
            self._keep(job)

    def update(self, name: str, change: Callable[[Job], Job]) -> Job:
        """Change a job in one step; returns the changed one."""
        with self._lock:
            job = change(self._jobs[name])
            self._keep(job)
            return job

    def _keep(self, job: Job) -> None:
        self._jobs[job.name] = job
        if self._folder is not None:
            file = self._folder / f"{job.id}.json"
            fresh = file.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(job))
            fresh.replace(file)

    def _load(self, folder: Path) -> None:
        jobs = [msgspec.json.decode(file.read_bytes(), type=Job) for file in folder.glob("*.json")]
        self._jobs = {job.name: job for job in sorted(jobs, key=lambda job: job.created)}
