"""A service without threads, sockets or waiting: its clock moves when the test says so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from promptmill.emulator.clock import Clock
from promptmill.emulator.execution import JobExecutor
from promptmill.emulator.faults import Faults, read_rules
from promptmill.emulator.importer import ImportLimits
from promptmill.emulator.memory_storage import MemoryStorage
from promptmill.emulator.paging import ListQuery
from promptmill.emulator.registry import JobRegistry
from promptmill.emulator.responders import EchoResponder
from promptmill.emulator.service import JobService, ServiceOptions
from promptmill.emulator.workers import Workers

PARENT = "projects/p/locations/global"
START = 1_800_000_000.0


class HandClock(Clock):
    """Stands still until it is moved; waiting moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.at = START
        self.on_wait: Callable[[], object] = lambda: None

    def now(self) -> float:
        return self.at

    def wait_until(self, moment: float) -> None:
        self.on_wait()
        self.at = max(self.at, moment)


class ByHand(Workers):
    """Keeps work until `run`; `at_once` does it when it is submitted."""

    def __init__(self, *, at_once: bool = True) -> None:
        super().__init__(size=0)
        self.at_once = at_once
        self.waiting: list[Callable[[], None]] = []

    def submit(self, work: Callable[[], None]) -> None:
        if self.at_once:
            work()
        else:
            self.waiting.append(work)

    def run(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


class WatchedStorage(MemoryStorage):
    """Calls `on_write` before each write."""

    def __init__(self, *buckets: str) -> None:
        super().__init__(*buckets)
        self.on_write: Callable[[], object] = lambda: None

    def write_object(self, uri: str, content: IO[bytes]) -> None:
        self.on_write()
        super().write_object(uri, content)


class Stand:
    """The service with everything around it, and short words for what tests do with it."""

    def __init__(
        self,
        *,
        latency: float = 60,
        queue: float = 0,
        at_once: bool = True,
        folder: Path | None = None,
        today: str = "2026-12-01",
    ) -> None:
        self.clock = HandClock()
        self.storage = WatchedStorage("source", "target")
        self.workers = ByHand(at_once=at_once)
        self.service = JobService(
            self.clock,
            JobRegistry(folder),
            JobExecutor(self.storage, EchoResponder(), self.clock, ImportLimits(requests=5000)),
            ServiceOptions(latency, queue, today=today),
            Faults(),
            self.workers,
        )

    def input(self, *rows: dict[str, Any]) -> None:
        self.storage.objects["gs://source/in.jsonl"] = b"".join(
            json.dumps(row).encode() + b"\n" for row in rows
        )

    def requests(self, count: int) -> None:
        self.input(*(row(f"k{number}") for number in range(count)))

    def fault(self, on: str, fault: str, **more: Any) -> None:
        self.service.faults.add_rules(
            read_rules(json.dumps({"on": on, "fault": fault} | more).encode())
        )

    def create(self, parent: str = PARENT, **more: Any) -> dict[str, Any]:
        return self.service.create_job(parent, json.dumps(body() | more).encode())

    def look(self, job: dict[str, Any], at: float) -> dict[str, Any]:
        self.clock.at = max(self.clock.at, START + at)
        return self.service.get_job(job["name"])

    def listed(self, filter_text: str = "", **more: Any) -> list[str]:
        return [
            one["name"]
            for one in self.service.list_jobs(PARENT, ListQuery(filter_text, **more))[
                "batchPredictionJobs"
            ]
        ]

    def files(self) -> dict[str, bytes]:
        written = {
            uri: content
            for uri, content in self.storage.objects.items()
            if uri.startswith("gs://target/")
        }
        return {uri.split("Z/", 1)[1]: content for uri, content in written.items()}

    def output(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files()["predictions.jsonl"].splitlines()]

    def finished(self, count: int = 20, **more: Any) -> dict[str, Any]:
        """The resource of a job of so many requests after its end."""
        self.requests(count)
        return self.look(self.create(**more), at=self.clock.at - START + 3600 * 100)


def row(key: str, text: str = "hello", **config: Any) -> dict[str, Any]:
    request: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": f"{text} {key}"}]}]}
    return {"key": key, "request": request | ({"generationConfig": config} if config else {})}


def body() -> dict[str, Any]:
    return {
        "displayName": "nightly",
        "model": "publishers/google/models/gemini-3.8-flash",
        "inputConfig": {
            "instancesFormat": "jsonl",
            "gcsSource": {"uris": ["gs://source/in.jsonl"]},
        },
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": "gs://target/run/"},
        },
        "labels": {"run": "r1"},
    }
