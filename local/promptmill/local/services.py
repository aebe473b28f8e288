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
LOCATION = "global"
SERVERS = ("redis", "storage", "emulator")
SERVICES = (*SERVERS, "worker", "poll", "beat", "flower")
DEFAULT_DIRECTORY = Path(".promptmill")
POLL_SLOTS = "3"  # for `poll`, `reconcile` and one slow job creation
_GOOGLE_VARIABLES = {
    "GOOGLE_CLOUD_PROJECT": PROJECT,
    "GOOGLE_CLOUD_LOCATION": LOCATION,
    # Otherwise the storage client requests the bucket's metadata, for tracing.
    "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1",
}


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
    location: str = LOCATION
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
        depends_on = SERVERS[: SERVERS.index(name)] if name in SERVERS else SERVERS
        return replace(builders[name](), depends_on=depends_on)

    def redis_service(self) -> Service:
        """Create the broker, which also holds the index of runs."""
        port = self.ports["redis"]
        command = servers.redis_command(port, self.directory / "redis")
        return self._server_service("redis", command, RedisResponds(port), redis_url(port))

    def storage_service(self) -> Service:
        """Create the Cloud Storage emulator with its bucket."""
        command = [
            *module_command("promptmill.emulator.gcs"),
            *("--host", HOST, "--port", str(self.ports["storage"])),
            *("--directory", str(self.directory / "storage"), "--bucket", BUCKET),
        ]
        return self._http_service("storage", command, f"/storage/v1/b/{BUCKET}")

    def emulator_service(self) -> Service:
        """Create the Vertex AI emulator."""
        command = [
            *module_command("promptmill.emulator"),
            *("--host", HOST, "--port", str(self.ports["emulator"])),
            *("--state-dir", str(self.directory / "emulator")),
            *("--latency", f"{self.options.latency:g}"),
        ]
        return self._http_service("emulator", command, "/healthz")

    def worker_service(self) -> Service:
        """Create the main worker. The poll worker, if enabled, serves Vertex queues."""
        queues = ["--queues", "ingest,work"] if "poll" in self.options.services else []
        options = [*queues, "--concurrency", str(self.options.worker_processes)]
        return self._celery_service("worker", options)

    def poll_service(self) -> Service:
        """Create the worker for jobs and polls, the only one with a Vertex client."""
        return self._celery_service(
            "poll", ["--queues", "jobs,poll", "--name", "poll", "--concurrency", POLL_SLOTS]
        )

    def beat_service(self) -> Service:
        """Create beat, which schedules the sweep."""
        command = tuple(promptmill_command("beat"))
        return Service("beat", command, LogMatches(r"beat: Starting"), self.environment)

    def flower_service(self) -> Service:
        """Create Flower, the web page for workers and tasks."""
        command = promptmill_command("flower", "--port", str(self.ports["flower"]))
        return self._http_service("flower", command, "/healthcheck")

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

    def _http_service(self, name: str, command: list[str], health_path: str) -> Service:
        port = self.ports[name]
        return self._server_service(name, command, HttpResponds(port, health_path), http_url(port))

    def _server_service(
        self, name: str, command: list[str], is_ready: ReadinessCheck, url: str
    ) -> Service:
        port = self.ports[name]
        return Service(name, tuple(command), is_ready, self.environment, port=port, url=url)


def client_environment(server_ports: Mapping[str, int]) -> dict[str, str]:
    """Return the environment variables for clients of the services on these ports."""
    redis, storage, emulator = (server_ports.get(name) for name in ("redis", "storage", "emulator"))
    variables = {
        "CELERY_BROKER_URL": redis_url(redis) if redis else "",
        "PROMPTMILL_REDIS_URL": redis_url(redis) if redis else "",
        "STORAGE_EMULATOR_HOST": http_url(storage) if storage else "",
        "PROMPTMILL_BUCKET": f"gs://{BUCKET}/mill" if storage else "",
        "PROMPTMILL_VERTEX_ENDPOINT": http_url(emulator) if emulator else "",
    }
    other_variables = _GOOGLE_VARIABLES | _bypass_proxies(os.environ)
    return {name: value for name, value in variables.items() if value} | other_variables


def _bypass_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that exclude the loopback interface from a proxy."""
    proxies = {name.lower() for name, value in environ.items() if value}
    if proxies.isdisjoint({"http_proxy", "all_proxy"}):
        return {}
    existing = environ.get("no_proxy") or environ.get("NO_PROXY")
    hosts = ",".join([existing, HOST, "localhost"] if existing else [HOST, "localhost"])
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def redis_url(port: int) -> str:
    """Return the URL of a local Redis server."""
    return f"redis://{HOST}:{port}/0"


def http_url(port: int) -> str:
    """Return the base URL of a local server."""
    return f"http://{HOST}:{port}"


def module_command(name: str) -> list[str]:
    """Return the command that runs a module with this Python."""
    return [sys.executable, "-m", name]


def promptmill_command(*arguments: str) -> list[str]:
    """Return a Promptmill command."""
    return [*module_command("promptmill.cli"), *arguments]
