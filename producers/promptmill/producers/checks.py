"""Checks of the environment, for ``promptmill doctor``.

Checks that need Google's libraries are in the workers' package, as the entry point
``checks``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, Protocol

from promptmill.config import queues
from promptmill.config.errors import ConfigurationError, NotInstalled
from promptmill.config.settings import (
    Settings,
    describe_default_broker,
    list_unknown_variables,
    variable_name,
)
from promptmill.config.urls import mask_password
from promptmill.producers.models.model_names import parse_model
from promptmill.producers.models.run_checks import Problem, find_problems
from promptmill.producers.run import load_bucket_function

MIN_REDIS_VERSION = (6, 2)
INSPECT_TIMEOUT = 1.5


class Check(NamedTuple):
    """The outcome of one check.

    ``ok`` is None if the check was not possible. ``remedy`` is a command or a setting. A
    warning does not fail.
    """

    name: str
    ok: bool | None
    message: str
    remedy: str = ""
    is_warning: bool = False


class Finding(NamedTuple):
    """A belief about Google with its verdict: ``holds`` is None if it was not decided."""

    name: str
    statement: str
    holds: bool | None
    evidence: str


class LiveCheck(Protocol):
    """The check of beliefs about Google: entry point ``live_check``."""

    calls: Mapping[str, int]
    seconds: float
    left: Sequence[str]
    failure: str

    @property
    def target(self) -> str:
        """Where the jobs run, and on which model."""
        ...

    @property
    def max_dollars(self) -> float | None:
        """Most that the check can cost in USD; None if the price of the model is unknown."""
        ...

    def run_check(self, on_progress: Callable[[str], None]) -> list[Finding]:
        """Run the jobs, remove everything, and return the verdicts. Raises PromptmillError."""
        ...

    def write_capture(self, findings: list[Finding], path: Path | None) -> Path:
        """Write the redacted capture file, and return its path. Raises PromptmillError."""
        ...


def run_checks(settings: Settings) -> Iterator[Check]:
    """Yield the outcome of every check."""
    yield from check_variables(settings)
    yield from _check_settings(settings)
    yield from check_creation_visibility(settings)
    yield check_redis_access(settings)
    yield check_versions(version("celery"), version("kombu"))
    yield from _check_broker(settings)
    yield from _check_google(settings)


def check_variables(settings: Settings) -> Iterator[Check]:
    """Report unknown variables, and a broker that is not configured."""
    for variable, similar in list_unknown_variables():
        advice = f"; did you mean {similar}?" if similar else ""
        yield Check("settings", None, f"{variable} is unknown{advice}")
    if note := describe_default_broker(settings):
        yield Check("broker", None, note)


def _check_settings(settings: Settings) -> Iterator[Check]:
    examples = {"bucket": "gs://BUCKET/promptmill", "project": "PROJECT"}
    for name, example in examples.items():
        value = str(getattr(settings, name))
        remedy = f"export {variable_name(name)}={example}"
        yield Check(
            name, bool(value), value or f"{variable_name(name)} is not set", "" if value else remedy
        )
    yield from check_model(settings)


def check_model(settings: Settings) -> Iterator[Check]:
    """Check that the default model has batch jobs in the location."""
    if not settings.model:
        yield Check("model", None, "PROMPTMILL_MODEL is not set, so every run must set its model")
        return
    for problem in _find_model_problems(settings):
        text, _, remedy = problem.text.partition("; ")
        yield Check("model", False if problem.refuses else not remedy or None, text, remedy)


def _find_model_problems(settings: Settings) -> list[Problem]:
    """Return the problems of the default model, or its name and location as the only one."""
    today = datetime.now(UTC).date()
    try:
        name = parse_model(settings.model)
    except ConfigurationError as error:
        return [Problem(str(error), refuses=True)]
    problems = list(find_problems(name, False, settings.location, today))
    return problems or [Problem(f"{settings.model} in {settings.location}")]


def check_creation_visibility(settings: Settings) -> Iterator[Check]:
    """Check that job creations are visible before they are repeated.

    It does not matter for an emulator, where nothing is paid.
    """
    minimum = 2 * settings.create_timeout
    if settings.vertex_endpoint or settings.creation_visibility_seconds >= minimum:
        return
    name, timeout_name = (
        variable_name("creation_visibility_seconds"),
        variable_name("create_timeout"),
    )
    message = f"{name} is less than twice {timeout_name}, so a slow creation could be paid twice"
    yield Check("creation visibility", False, message, f"export {name}={minimum:g}")


def check_redis_access(settings: Settings) -> Check:
    """Check that Redis is protected by a password or TLS, or is local."""
    try:
        settings.refuse_insecure_redis()
    except ConfigurationError as error:
        remedy = f"export {variable_name('broker_url')}=rediss://:PASSWORD@HOST"
        return Check("access to Redis", False, str(error), remedy)
    message = (
        "allowed without a password"
        if settings.allow_insecure_redis
        else "by password, TLS or this machine only"
    )
    return Check("access to Redis", True, message)


def check_versions(celery: str, kombu: str) -> Check:
    """Check the versions of Celery and kombu.

    A worker of Celery 5.7.0 exits if its broker dies during a task. A kombu before 5.7
    redelivers the messages of a killed worker only after minutes.
    """
    is_supported = celery != "5.7.0" and _parse_version(kombu) >= (5, 7)
    remedy = "" if is_supported else "pip install 'celery[redis]>=5.6.3,<5.7' 'kombu>=5.7'"
    return Check(
        "versions",
        is_supported,
        f"celery {celery}, kombu {kombu}{_optional_version('google-cloud-aiplatform')}",
        remedy,
    )


def _optional_version(package: str) -> str:
    with suppress(PackageNotFoundError):
        return f", {package} {version(package)}"
    return ""


def _check_broker(settings: Settings) -> Iterator[Check]:
    import redis

    url = settings.broker_url.get_secret_value()
    try:
        info = redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=5).info()
    except (redis.RedisError, ValueError) as error:
        remedy = f"start Redis, or set {variable_name('broker_url')}"
        yield Check("broker", False, f"{mask_password(url)}: {error}", remedy)
        return
    yield from check_redis_server(mask_password(url), info)
    yield from _check_workers(settings)


def check_redis_server(url: str, info: Mapping[str, object]) -> Iterator[Check]:
    """Check the INFO of Redis: version, persistence and eviction."""
    yield _check_redis_version(url, str(info["redis_version"]))
    yield _check_persistence(bool(info.get("aof_enabled")))
    yield _check_eviction(str(info.get("maxmemory_policy", "unknown")))


def _check_redis_version(url: str, redis_version: str) -> Check:
    is_supported = _parse_version(redis_version) >= MIN_REDIS_VERSION
    remedy = "" if is_supported else "use Redis 6.2 or later, or Valkey"
    return Check("broker", is_supported, f"{url}: Redis {redis_version}", remedy)


def _check_persistence(is_durable: bool) -> Check:
    if is_durable:
        return Check("persistence", True, "appendonly is on")
    message = "appendonly is off: messages are lost when Redis restarts"
    remedy = "redis-cli config set appendonly yes (and in redis.conf)"
    return Check("persistence", False, message, remedy)


def _check_eviction(policy: str) -> Check:
    is_safe = policy == "noeviction"
    remedy = "redis-cli config set maxmemory-policy noeviction (and in redis.conf)"
    return Check("eviction", is_safe, f"maxmemory-policy is {policy}", "" if is_safe else remedy)


def _check_workers(settings: Settings) -> Iterator[Check]:
    listening = _list_worker_queues(settings)
    for queue in queues.ALL_QUEUES:
        count = listening.count(queue)
        queue_name = queue.removeprefix("promptmill.")
        message = f"{count} listening" if count else "no worker listens, so runs are stalled"
        yield Check(
            f"worker for {queue_name}",
            bool(count),
            message,
            "" if count else f"promptmill worker --queues {queue_name}",
        )


def _list_worker_queues(settings: Settings) -> list[str]:
    """Return the queues of all workers, once per worker."""
    from celery import Celery

    app = Celery("promptmill-doctor", set_as_current=False)
    app.config_from_object(queues.celery_options(settings))
    with app:
        answers = app.control.inspect(timeout=INSPECT_TIMEOUT).active_queues() or {}
    return [str(queue["name"]) for node in answers.values() for queue in node]


def _check_google(settings: Settings) -> Iterator[Check]:
    try:
        yield from load_bucket_function("checks")(settings)
    except NotInstalled as missing:
        yield Check("Google Cloud", None, f"not checked: {missing}")


def _parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(piece) for piece in text.split(".")[:2] if piece.isdigit())
