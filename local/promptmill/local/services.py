"""The services of a stack: their order and their start commands."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from promptmill.local import ports, servers
from promptmill.local.ports import HOST
from promptmill.local.readiness import HttpResponds, LogMatches, ReadinessCheck, RedisResponds
from promptmill.local.service import Service

PROJECT = BUCKET = "promptmill-local"
LOCATION = "us-central1"
SERVERS = ("redis", "storage", "emulator")
SERVICES = (*SERVERS, "worker", "poll", "beat", "flower")
DEFAULT_DIRECTORY = Path(".promptmill")
POLL_SLOTS = "3"  # for `poll`, `reconcile` and one slow job creation


@dataclass(frozen=True)
class StackOptions:
    """Options of a stack.

    `services` is a subset of SERVICES. Clients find the others by their own settings.
    `latency` is the duration of an emulated job, in seconds. `fresh` deletes the data
    of an earlier stack in `directory`. `ports` are preferences; 0 means any.
    """

    directory: Path = DEFAULT_DIRECTORY
    services: tuple[str, ...] = SERVICES
    worker_processes: int = 2
    latency: float = 5.0
    fresh: bool = False
    ports: Mapping[str, int] = field(default_factory=lambda: dict(ports.PREFERRED_PORTS))


@dataclass(frozen=True)
class ServiceFactory:
    """Creates the services of a stack."""

    options: StackOptions
    directory: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str]

    def create_service(self, name: str) -> Service:
        """Create a service. Servers start in sequence, then all others at once."""
        builders: dict[str, Callable[[], Service]] = {
            "redis": self.redis_service,
            "storage": self.storage_service,
            "emulator": self.emulator_service,
            "worker": self.worker_service,
            "poll": self.poll_service,
            "beat": self.beat_service,
            "flower": self.flower_service,
        }
        return replace(
            builders[name](),
            depends_on=SERVERS[: SERVERS.index(name)] if name in SERVERS else SERVERS,
        )

    def redis_service(self) -> Service:
        """Create the broker, which also holds the index of runs."""
        port = self.ports["redis"]
        command = servers.redis_command(port, self.directory / "redis")
        url = f"redis://{HOST}:{port}/0"
        return self._server_service("redis", command, RedisResponds(port), url)

    def storage_service(self) -> Service:
        """Create the Cloud Storage emulator with its bucket."""
        port = self.ports["storage"]
        server_options = [
            "--host",
            HOST,
            "--port",
            str(port),
            "--directory",
            str(self.directory / "storage"),
        ]
        command = [*module_command("promptmill.emulator.gcs"), *server_options, "--bucket", BUCKET]
        return self._server_service(
            "storage", command, HttpResponds(port, f"/storage/v1/b/{BUCKET}"), http_url(port)
        )

    def emulator_service(self) -> Service:
        """Create the Vertex AI emulator."""
        port = self.ports["emulator"]
        server_options = [
            "--host",
            HOST,
            "--port",
            str(port),
            "--state-dir",
            str(self.directory / "emulator"),
        ]
        command = [
            *module_command("promptmill.emulator"),
            *server_options,
            "--latency",
            f"{self.options.latency:g}",
        ]
        return self._server_service(
            "emulator", command, HttpResponds(port, "/healthz"), http_url(port)
        )

    def worker_service(self) -> Service:
        """Create the main worker. The poll worker, if enabled, serves Vertex queues."""
        queues = ["--queues", "ingest,work"] if "poll" in self.options.services else []
        return self._celery_service(
            "worker", [*queues, "--concurrency", str(self.options.worker_processes)]
        )

    def poll_service(self) -> Service:
        """Create the worker for jobs and polls, the only one with a Vertex client."""
        return self._celery_service(
            "poll", ["--queues", "jobs,poll", "--name", "poll", "--concurrency", POLL_SLOTS]
        )

    def beat_service(self) -> Service:
        """Create beat, which schedules the sweep."""
        return Service(
            "beat",
            tuple(promptmill_command("beat")),
            LogMatches(r"beat: Starting"),
            self.environment,
        )

    def flower_service(self) -> Service:
        """Create Flower, the web page for workers and tasks."""
        port = self.ports["flower"]
        command = promptmill_command("flower", "--port", str(port))
        is_ready = HttpResponds(port, "/healthcheck")
        return self._server_service("flower", command, is_ready, http_url(port))

    def _celery_service(self, name: str, options: list[str]) -> Service:
        command = tuple(promptmill_command("worker", *options))
        return Service(
            name,
            command,
            LogMatches(r"@\S+ ready\."),
            self.environment,
            start_timeout=120.0,
            grace_period=10.0,
        )

    def _server_service(
        self, name: str, command: list[str], is_ready: ReadinessCheck, url: str
    ) -> Service:
        return Service(
            name, tuple(command), is_ready, self.environment, port=self.ports[name], url=url
        )


def client_environment(server_ports: Mapping[str, int]) -> dict[str, str]:
    """Return the environment variables for clients of the services on these ports."""
    redis, storage, emulator = (server_ports.get(name) for name in ("redis", "storage", "emulator"))
    variables = {
        "CELERY_BROKER_URL": redis and f"redis://{HOST}:{redis}/0",
        "PROMPTMILL_REDIS_URL": redis and f"redis://{HOST}:{redis}/0",
        "STORAGE_EMULATOR_HOST": storage and http_url(storage),
        "PROMPTMILL_BUCKET": storage and f"gs://{BUCKET}/mill",
        "PROMPTMILL_VERTEX_ENDPOINT": emulator and http_url(emulator),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "GOOGLE_CLOUD_LOCATION": LOCATION,
        # Otherwise the storage client requests the bucket's metadata, for tracing.
        "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1",
    }
    return {name: value for name, value in variables.items() if value} | _bypass_proxies(os.environ)


def _bypass_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that exclude the loopback interface from a proxy."""
    if not any(
        name.lower() in {"http_proxy", "all_proxy"} and value for name, value in environ.items()
    ):
        return {}
    existing = environ.get("no_proxy") or environ.get("NO_PROXY")
    hosts = ",".join([existing, HOST, "localhost"] if existing else [HOST, "localhost"])
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def http_url(port: int) -> str:
    """Return the base URL of a local server."""
    return f"http://{HOST}:{port}"


def module_command(name: str) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", name]


def promptmill_command(*arguments: str) -> list[str]:
    """Return a Promptmill command."""
    return [*module_command("promptmill.cli"), *arguments]
