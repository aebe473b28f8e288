"""The stack as data."""

from pathlib import Path

import pytest

from promptmill.local import SERVICES, Service, StackOptions
from promptmill.local.services import ServiceFactory, client_environment

PORTS = {"redis": 6379, "storage": 4443, "emulator": 8080, "flower": 5555}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def every(directory: Path, options: StackOptions) -> dict[str, Service]:
    services = ServiceFactory(options, directory, PORTS, {"A": "b"})
    return {name: services.create_service(name) for name in SERVICES}


def test_a_client_finds_every_service_by_the_names_that_the_libraries_know() -> None:
    assert client_environment(PORTS) == {
        "CELERY_BROKER_URL": "redis://127.0.0.1:6379/0",
        "PROMPTMILL_REDIS_URL": "redis://127.0.0.1:6379/0",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:4443",
        "PROMPTMILL_BUCKET": "gs://promptmill-local/mill",
        "PROMPTMILL_VERTEX_ENDPOINT": "http://127.0.0.1:8080",
        "GOOGLE_CLOUD_PROJECT": "promptmill-local",
        "GOOGLE_CLOUD_LOCATION": "global",
        "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1",
    }


def test_a_service_that_is_left_out_is_found_by_the_users_own_settings() -> None:
    found = client_environment({"storage": 4443})

    assert "CELERY_BROKER_URL" not in found
    assert "PROMPTMILL_VERTEX_ENDPOINT" not in found
    assert found["PROMPTMILL_BUCKET"] == "gs://promptmill-local/mill"


def test_a_proxy_of_the_users_environment_is_not_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "intra.example")

    assert client_environment(PORTS)["no_proxy"] == "intra.example,127.0.0.1,localhost"
    assert client_environment(PORTS)["NO_PROXY"] == "intra.example,127.0.0.1,localhost"


def test_the_options_reach_the_commands(tmp_path: Path) -> None:
    services = every(tmp_path, StackOptions(worker_processes=3, latency=60))

    assert services["emulator"].command[-2:] == ("--latency", "60")
    assert services["worker"].command[-2:] == ("--concurrency", "3")


def test_the_queues_are_shared_out_among_the_workers_and_one_alone_has_them_all(
    tmp_path: Path,
) -> None:
    both = every(tmp_path, StackOptions())
    alone = every(tmp_path, StackOptions(services=("redis", "worker")))

    assert queues_of(both["worker"]).isdisjoint(queues_of(both["poll"]))
    assert queues_of(both["worker"]) | queues_of(both["poll"]) == {"ingest", "work", "jobs", "poll"}
    assert "--queues" not in alone["worker"].command


def queues_of(service: Service) -> set[str]:
    return set(service.command[service.command.index("--queues") + 1].split(","))


def test_the_servers_start_one_after_the_other_and_then_all_the_rest_at_once(
    tmp_path: Path,
) -> None:
    after = {name: service.depends_on for name, service in every(tmp_path, StackOptions()).items()}

    assert after["redis"] == ()
    assert after["emulator"] == ("redis", "storage")
    assert {after[name] for name in ("worker", "poll", "beat", "flower")} == {
        ("redis", "storage", "emulator")
    }


def test_every_service_has_the_environment_and_every_server_its_address(tmp_path: Path) -> None:
    services = every(tmp_path, StackOptions())

    assert all(service.environment == {"A": "b"} for service in services.values())
    assert {name: service.port for name, service in services.items() if service.port} == PORTS
    assert services["flower"].url == "http://127.0.0.1:5555"
