"""Redis lets nobody in who should stay out, and nobody sees its password. Real processes, but no Redis."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from celery import Celery

from promptmill.config import queues, settings
from promptmill.config.errors import ConfigurationError
from promptmill.producers import Promptmill, checks
from promptmill.producers.contract.connection import Connection
from support.local_stack import surroundings
from support.waiting import PATIENCE, wait_until

ELSEWHERE = "redis://192.0.2.1:6379/0"
"""An address that is kept for documentation: nothing may ever be sent there."""
SECRET = "s3cret-4b1d"
UNREACHABLE = {
    "CELERY_BROKER_URL": f"redis://mill:{SECRET}@127.0.0.1:1/0",
    "PROMPTMILL_REDIS_URL": f"redis://mill:{SECRET}@127.0.0.1:1/0",
}


@pytest.mark.parametrize(
    "command",
    [
        ["promptmill.cli", "worker", "--queues", "work"],
        ["promptmill.cli", "beat"],
        ["celery", "-A", "promptmill.workers.main", "worker"],
        ["celery", "-A", "promptmill.workers.main", "beat", "--scheduler", "celery.beat:Scheduler"],
    ],
    ids=" ".join,
)
def test_no_worker_starts_with_a_redis_that_lets_everybody_in(command: list[str]) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PROMPTMILL_")
    }
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment | {"CELERY_BROKER_URL": ELSEWHERE},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert ended.returncode == 1
    assert (
        f"error: CELERY_BROKER_URL: {ELSEWHERE} is on another machine and has no password"
        in ended.stderr
    )
    assert "PROMPTMILL_ALLOW_INSECURE_REDIS=1" in ended.stderr


@pytest.mark.parametrize(
    ("url", "closed"),
    [
        (ELSEWHERE, False),
        ("redis://user@192.0.2.1/0", False),
        ("redis://redis:6379/0", False),
        ("redis://0.0.0.0:6379/0", False),
        ("redis://:pw@192.0.2.1:6379/0", True),
        ("rediss://192.0.2.1:6379/0", True),
        ("redis://127.0.0.1:6379/0", True),
        ("redis://localhost/0", True),
        ("redis://[::1]:6379/0", True),
        ("redis+socket:///run/redis.sock", True),
    ],
)
def test_doctor_complains_of_a_redis_that_lets_everybody_in(url: str, closed: bool) -> None:
    with surroundings({"CELERY_BROKER_URL": url}):
        check = checks.check_redis_access(settings.load_settings(redis_url="redis://127.0.0.1/1"))
        index = checks.check_redis_access(
            settings.load_settings(broker_url="redis://127.0.0.1/1", redis_url=url)
        )
        allowed = checks.check_redis_access(settings.load_settings(allow_insecure_redis=True))

    assert (check.ok, bool(check.remedy)) == (closed, not closed)
    assert index.ok is closed
    assert closed or index.message.startswith("PROMPTMILL_REDIS_URL: ")
    assert allowed.ok


@pytest.mark.parametrize("query", ["", "?ssl_ca_certs=/etc/redis-ca.pem"])
def test_a_redis_with_tls_is_asked_for_its_certificate_and_given_the_password(query: str) -> None:
    loaded = settings.load_settings(
        broker_url=f"rediss://mill:{SECRET}@redis.example:6380/1{query}"
    )

    with Celery(set_as_current=False) as app:
        app.config_from_object(queues.celery_options(loaded))
        broker = app.connection_for_write()
    with Connection(loaded.index_url).use_client() as client:
        index = client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)

    assert (broker.transport_cls, broker.userid, broker.password, broker.port) == (
        "rediss",
        "mill",
        SECRET,
        6380,
    )
    assert isinstance(broker.ssl, dict)
    connection = redis.SSLConnection(**broker.ssl)
    assert connection.cert_reqs.name == index.cert_reqs.name == "CERT_REQUIRED"
    assert connection.ca_certs == index.ca_certs == (query.partition("=")[2] or None)
    assert connection.check_hostname
    assert isinstance(index, redis.SSLConnection)
    assert index.check_hostname


@pytest.mark.parametrize("verb", ["list", "submit", "doctor", "wait", "cancel"])
def test_no_error_tells_a_password(verb: str) -> None:
    arguments = {
        "submit": ["--prompt", "hi", "--model", "gemini-3.8-flash"],
        "wait": ["01j"],
        "cancel": ["01j"],
    }
    ended = cli(verb, *arguments.get(verb, []))

    assert ended.returncode == 1
    assert "127.0.0.1:1" in ended.stdout + ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


def test_no_worker_logs_a_password(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "promptmill.cli",
                "worker",
                "--queues",
                "work",
                "--pool",
                "solo",
            ],
            env=os.environ | UNREACHABLE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "Cannot connect to" in log.read_text(), "the complaint")
    finally:
        worker.kill()
        worker.wait()

    assert SECRET not in log.read_text()


def test_settings_show_no_password() -> None:
    loaded = settings.load_settings(
        broker_url=UNREACHABLE["CELERY_BROKER_URL"], redis_url=UNREACHABLE["PROMPTMILL_REDIS_URL"]
    )

    shown = [
        repr(loaded),
        str(loaded),
        loaded.model_dump_json(),
        repr(Connection(loaded.index_url)),
        repr(Promptmill()),
    ]
    with pytest.raises(ConfigurationError) as wrong:
        settings.load_settings(
            broker_url=UNREACHABLE["CELERY_BROKER_URL"], location=f"{SECRET}", bucket="s3://x"
        )

    assert [text for text in [*shown, str(wrong.value)] if SECRET in text] == []


def cli(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `promptmill` where Redis is away."""
    return subprocess.run(
        [sys.executable, "-m", "promptmill.cli", *arguments],
        env=os.environ | UNREACHABLE,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
