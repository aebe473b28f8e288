"""The services of a stack, as data: which there are, in which order, and how each is started."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from promptmill.local import parts, ports
from promptmill.local.ports import HOST
from promptmill.local.readiness import Answers, Logged, Pongs, Ready
from promptmill.local.service import Service

PROJECT = BUCKET = "promptmill-local"
LOCATION = "us-central1"
SERVERS = ("redis", "storage", "emulator")
SERVICES = (*SERVERS, "worker", "poll", "beat", "flower")
DIRECTORY = Path(".promptmill")
POLL_SLOTS = "3"  # one for `poll`, one for `reconcile`, one for a creation that takes long


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    `services` is any part of SERVICES; a client of one that is left out finds it by its own settings. `latency` is how
    many seconds the emulator takes for a job. `fresh` forgets what an earlier stack left in `directory`. `ports` are
    the preferred ones, 0 for any.
    """

    directory: Path = DIRECTORY
    services: tuple[str, ...] = SERVICES
    worker_processes: int = 2
    latency: float = 5.0
    fresh: bool = False
    ports: Mapping[str, int] = field(default_factory=lambda: dict(ports.PREFERRED))


@dataclass(frozen=True)
class Services:
    """How each service is started."""

    options: Options
    directory: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str]

    def named(self, name: str) -> Service:
        """The service of this name: servers one after the other, then at once all that lean on them."""
        make: dict[str, Callable[[], Service]] = {
            "redis": self.redis,
            "storage": self.storage,
            "emulator": self.emulator,
            "worker": self.worker,
            "poll": self.poll,
            "beat": self.beat,
            "flower": self.flower,
        }
        return replace(make[name](), after=SERVERS[: SERVERS.index(name)] if name in SERVERS else SERVERS)

    def redis(self) -> Service:
        """The broker, and the index of runs."""
        port = self.ports["redis"]
        command = parts.redis(port, self.directory / "redis")
        return self._server("redis", command, Pongs(port), f"redis://{HOST}:{port}/0")

    def storage(self) -> Service:
        """Cloud Storage's stand-in, with the bucket."""
        port = self.ports["storage"]
        place = ["--host", HOST, "--port", str(port), "--directory", str(self.directory / "storage")]
        command = [*module("promptmill.emulator.gcs"), *place, "--bucket", BUCKET]
        return self._server("storage", command, Answers(port, f"/storage/v1/b/{BUCKET}"), http(port))

    def emulator(self) -> Service:
        """Vertex AI's stand-in."""
        port = self.ports["emulator"]
        place = ["--host", HOST, "--port", str(port), "--state-dir", str(self.directory / "emulator")]
        command = [*module("promptmill.emulator"), *place, "--latency", f"{self.options.latency:g}"]
        return self._server("emulator", command, Answers(port, "/healthz"), http(port))

    def worker(self) -> Service:
        """The Celery worker that does everything; but what needs Vertex is left to another, where there is one."""
        queues = ["--queues", "ingest,work"] if "poll" in self.options.services else []
        return self._celery_worker("worker", [*queues, "--concurrency", str(self.options.worker_processes)])

    def poll(self) -> Service:
        """The Celery worker that creates jobs and polls them: the only one that loads the Vertex client."""
        return self._celery_worker("poll", ["--queues", "jobs,poll", "--name", "poll", "--concurrency", POLL_SLOTS])

    def beat(self) -> Service:
        """The clock that revives what has stopped."""
        return Service("beat", tuple(promptmill("beat")), Logged(r"beat: Starting"), self.environment)

    def flower(self) -> Service:
        """The page for workers and tasks."""
        port = self.ports["flower"]
        command = promptmill("flower", "--port", str(port))
        return self._server("flower", command, Answers(port, "/healthcheck"), http(port))

    def _celery_worker(self, name: str, options: list[str]) -> Service:
        command = tuple(promptmill("worker", *options))
        return Service(name, command, Logged(r"@\S+ ready\."), self.environment, slowest_start=120.0, grace=10.0)

    def _server(self, name: str, command: list[str], ready: Ready, url: str) -> Service:
        return Service(name, tuple(command), ready, self.environment, port=self.ports[name], url=url)


def environment(chosen: Mapping[str, int]) -> dict[str, str]:
    """What a client's environment needs to find the services on these ports."""
    redis, storage, emulator = (chosen.get(name) for name in ("redis", "storage", "emulator"))
    found = {
        "CELERY_BROKER_URL": redis and f"redis://{HOST}:{redis}/0",
        "PROMPTMILL_REDIS_URL": redis and f"redis://{HOST}:{redis}/0",
        "STORAGE_EMULATOR_HOST": storage and http(storage),
        "PROMPTMILL_BUCKET": storage and f"gs://{BUCKET}/mill",
        "PROMPTMILL_VERTEX_ENDPOINT": emulator and http(emulator),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "GOOGLE_CLOUD_LOCATION": LOCATION,
        # Or else the storage client's first call also asks for the bucket's metadata, for traces that nobody makes.
        "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1",
    }
    return {name: value for name, value in found.items() if value} | _past_proxies(os.environ)


def _past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Keep a proxy of the environment away from the loopback interface, which it cannot reach."""
    if not any(name.lower() in {"http_proxy", "all_proxy"} and value for name, value in environ.items()):
        return {}
    known = environ.get("no_proxy") or environ.get("NO_PROXY")
    hosts = ",".join([known, HOST, "localhost"] if known else [HOST, "localhost"])
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def http(port: int) -> str:
    """The base URL of a server on this machine."""
    return f"http://{HOST}:{port}"


def module(name: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", name]


def promptmill(*arguments: str) -> list[str]:
    """A command of Promptmill's own."""
    return [*module("promptmill.cli"), *arguments]
