"""The compose files, held against the code: there need be no Docker to see that they agree."""

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from promptmill.cli.app import app
from promptmill.cli.flower import require_flower_login
from promptmill.cli.worker import parse_queues
from promptmill.config import queues, settings
from promptmill.config.errors import ConfigurationError
from promptmill.emulator import __main__ as emulator
from promptmill.emulator.gcs import __main__ as storage
from promptmill.local import ports, servers

ROOT = Path(__file__).parents[2]
EMULATED, GOOGLE = "docker-compose.yml", "compose.google.yml"
BOTH = pytest.mark.parametrize("file", [EMULATED, GOOGLE])
OF_OTHERS = {
    "FLOWER_BASIC_AUTH",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA",
}
"""Variables that Flower and Google's libraries read by themselves."""
EMULATORS = {"emulator": emulator._cli, "storage": storage._cli}
"""The verbs that hand their options on to a command line of Promptmill's own."""
GIVEN = {
    "PROMPTMILL_BUCKET": "gs://acme/promptmill",
    "GOOGLE_CLOUD_PROJECT": "acme",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
    "FLOWER_BASIC_AUTH": "me:secret",
}

Service = Mapping[str, Any]


@BOTH
def test_every_command_is_one_of_promptmills_with_options_that_it_has(file: str) -> None:
    for service in ours(file).values():
        assert parsed(service["command"]) is not None


@BOTH
def test_the_workers_together_listen_to_every_queue_and_no_two_services_to_one(file: str) -> None:
    listened = [
        queue
        for _, options in commands(file, "worker")
        for queue in parse_queues(options["queues"])
    ]

    assert sorted(listened) == sorted(queues.ALL_QUEUES)


@BOTH
def test_there_is_one_beat(file: str) -> None:
    assert len(list(commands(file, "beat"))) == 1


@BOTH
def test_any_number_of_workers_can_run_beside_each_other(file: str) -> None:
    worker = services(file)["worker"]

    assert not worker.keys() & {"ports", "container_name", "volumes", "hostname"}


@BOTH
def test_redis_keeps_and_evicts_as_on_one_machine(file: str, tmp_path: Path) -> None:
    local = options_of(servers.redis_command(1, tmp_path))
    composed = options_of(services(file)["redis"]["command"])

    assert composed == {
        name: value for name, value in local.items() if name not in {"--port", "--bind", "--dir"}
    }
    assert composed["--maxmemory-policy"] == "noeviction"
    assert composed["--appendonly"] == "yes"


@BOTH
def test_every_variable_is_a_setting_or_belongs_to_a_named_tool(file: str) -> None:
    known = {settings.variable_name(name) for name in settings.Settings.model_fields} | OF_OTHERS

    for service in ours(file).values():
        assert environment(service).keys() <= known


@BOTH
def test_the_settings_of_every_service_are_valid_and_sufficient(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in ours(file).values():
        with monkeypatch.context() as patch:
            for name, value in environment(service).items():
                patch.setenv(name, value)
            loaded = settings.load_settings()

        loaded.refuse_insecure_redis()
        if service["command"][0] in {"worker", "beat"}:
            assert loaded.get_required("bucket").startswith("gs://")
            assert loaded.parent.startswith("projects/")


@BOTH
def test_every_address_names_a_service_of_the_file_and_the_port_that_it_listens_to(
    file: str,
) -> None:
    for service in ours(file).values():
        for url in environment(service).values():
            if url.startswith(("http://", "redis://")):
                assert urlsplit(url).port == int(
                    container_port(services(file)[str(urlsplit(url).hostname)])
                )


@BOTH
def test_every_port_is_bound_to_this_machine_only(file: str) -> None:
    published = [port for service in services(file).values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_published_ports_are_those_of_the_stack_without_docker() -> None:
    published = {
        name: int(one["ports"][0].split(":")[1])
        for name, one in services(EMULATED).items()
        if "ports" in one
    }

    assert published == ports.PREFERRED_PORTS


@pytest.mark.parametrize("name", ["storage", "emulator", "flower"])
def test_a_server_listens_where_its_port_is_published(name: str) -> None:
    service = services(EMULATED)[name]
    options = parsed(service["command"])

    assert str(options["port"]) == container_port(service)
    assert options.get("host", options.get("address")) == "0.0.0.0"  # noqa: S104 (in its container)


@BOTH
def test_flower_asks_for_a_login_and_would_not_start_without(file: str) -> None:
    flower = services(file)["flower"]
    address = parsed(flower["command"])["address"]

    require_flower_login(address, environment(flower))
    with pytest.raises(ConfigurationError, match="FLOWER_BASIC_AUTH"):
        require_flower_login(address, {})


def test_the_bucket_is_there_from_the_start_and_outlives_its_server() -> None:
    server = services(EMULATED)["storage"]
    options = parsed(server["command"])
    bucket = urlsplit(environment(services(EMULATED)["worker"])["PROMPTMILL_BUCKET"]).netloc

    assert options["bucket"] == [bucket]
    assert [volume.split(":")[1] for volume in server["volumes"]] == [
        str(options["directory"].parent)
    ]
    assert server["healthcheck"]["test"][-1].endswith(f"/storage/v1/b/{bucket}')")


@BOTH
def test_whoever_is_waited_for_can_tell_that_it_is_healthy(file: str) -> None:
    known = services(file)
    for service in known.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in known[needed]


@BOTH
def test_every_volume_and_secret_is_declared(file: str) -> None:
    composed = read(file)
    volumes = {
        volume.partition(":")[0]
        for one in services(file).values()
        for volume in one.get("volumes", [])
    }
    secrets = {secret for one in services(file).values() for secret in one.get("secrets", [])}

    assert volumes == composed["volumes"].keys()
    assert secrets == composed.get("secrets", {}).keys()


def test_nothing_stands_in_for_google_where_google_is_meant() -> None:
    assert not services(GOOGLE).keys() & {"storage", "emulator"}
    for service in services(GOOGLE).values():
        assert not service.get("environment", {}).keys() & {
            "STORAGE_EMULATOR_HOST",
            "PROMPTMILL_VERTEX_ENDPOINT",
        }


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_real_google_is_not_started_without(missing: str) -> None:
    assert f"${{{missing}:?" in (ROOT / GOOGLE).read_text()


def test_the_image_is_made_of_files_that_are_there_and_runs_as_nobody_special() -> None:
    steps = dockerfile()
    copied = {
        source
        for word, rest in steps
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    sent = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)
    assert [rest for word, rest in steps if word == "USER"] == ["promptmill"]
    assert ("ENTRYPOINT", '["promptmill"]') in steps


def test_the_image_has_the_extras_that_its_commands_need() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    default = dict(steps for steps in dockerfile() if steps[0] == "ARG")["ARG"].removeprefix(
        "EXTRAS="
    )

    assert set(default.split(",")) == {"worker", "monitor"} <= known.keys()
    assert services(EMULATED)["worker"]["build"]["args"] == {"EXTRAS": "local"}
    assert "local" in known


def read(file: str) -> dict[str, Any]:
    """Return a compose file with the variables of GIVEN filled in, as Compose would."""
    composed: dict[str, Any] = _filled(yaml.safe_load((ROOT / file).read_text()))
    return composed


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one) for one in value]
    return (
        re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", _value, value)
        if isinstance(value, str)
        else value
    )


def _value(found: re.Match[str]) -> str:
    name, kind, words = found.groups()
    return GIVEN.get(name, words if kind == "-" else "")


def services(file: str) -> dict[str, Service]:
    """Return all services of a file."""
    found: dict[str, Service] = read(file)["services"]
    return found


def ours(file: str) -> dict[str, Service]:
    """Return the services that run Promptmill's own image."""
    found = {name: service for name, service in services(file).items() if "build" in service}
    assert found
    return found


def environment(service: Service) -> dict[str, str]:
    """Return the variables of a service."""
    variables: dict[str, str] = service.get("environment", {})
    assert all(isinstance(value, str) for value in variables.values())
    return variables


def container_port(service: Service) -> str:
    """Return the port on which a service listens inside."""
    (port,) = service["ports"]
    return str(port).rpartition(":")[2]


def commands(file: str, verb: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the services that run a verb, with its options."""
    for name, service in ours(file).items():
        if service["command"][0] == verb:
            yield name, parsed(service["command"])


def parsed(command: list[str]) -> dict[str, Any]:
    """Return the options of a command, as the command line itself reads them; it refuses those that it does not know."""
    verb, *arguments = command
    group: Any = typer.main.get_command(app)
    context = group.commands[verb].make_context(verb, list(arguments))
    if verb in EMULATORS:
        cli: Any = typer.main.get_command(EMULATORS[verb])
        context = cli.make_context(verb, context.args)
    assert not context.args, f"{shlex.join(command)}: {context.args} would go on to Celery"
    options: dict[str, Any] = context.params
    return options


def options_of(command: list[str]) -> dict[str, str]:
    """Return a server's options, from its program on in pairs."""
    return dict(zip(command[1::2], command[2::2], strict=True))


def dockerfile() -> list[tuple[str, str]]:
    """Return the steps of the Dockerfile: its words and what follows them."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace(
        "\\\n", ""
    )
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in text.splitlines())
        if word
    ]
