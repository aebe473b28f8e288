"""What can be wrong around Promptmill, as far as it can be seen without Google's libraries.

What needs them is announced by the workers as the entry point ``checks``.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from promptmill.config import queues
from promptmill.config.errors import ConfigurationError, NotInstalled
from promptmill.config.settings import Settings, variable
from promptmill.config.urls import masked
from promptmill.producers.run import bucket_access

OLDEST_REDIS = (6, 2)
ANSWER_WITHIN = 1.5


class Check(NamedTuple):
    """One thing that was looked at: ``ok`` is None where it could not be; ``remedy`` is a command or a setting."""

    name: str
    ok: bool | None
    message: str
    remedy: str = ""


def check(settings: Settings) -> Iterator[Check]:
    """Look at everything, one thing after the other."""
    yield from _settings(settings)
    yield from settle_time(settings)
    yield redis_is_closed(settings)
    yield versions(version("celery"), version("kombu"))
    yield from _broker(settings)
    yield from _google(settings)


def _settings(settings: Settings) -> Iterator[Check]:
    examples = {"bucket": "gs://BUCKET/promptmill", "project": "PROJECT"}
    for name, example in examples.items():
        value = str(getattr(settings, name))
        remedy = f"export {variable(name)}={example}"
        yield Check(name, bool(value), value or f"{variable(name)} is not set", "" if value else remedy)
    if not settings.model:
        yield Check("model", None, "PROMPTMILL_MODEL is not set, so every run must name its model")


def settle_time(settings: Settings) -> Iterator[Check]:
    """Look at whether a creation is over before its job is no longer waited for; of no account where nothing is paid."""
    least = 2 * settings.create_timeout
    if settings.vertex_endpoint or settings.settle_seconds >= least:
        return
    name, limit = variable("settle_seconds"), variable("create_timeout")
    message = f"{name} is less than twice {limit}: a job that is created slowly could be created and paid for twice"
    yield Check("settle time", False, message, f"export {name}={least:g}")


def redis_is_closed(settings: Settings) -> Check:
    """Look at whether everybody who reaches Redis is let in."""
    try:
        settings.refuse_open_redis()
    except ConfigurationError as error:
        return Check("access to Redis", False, str(error), f"export {variable('broker_url')}=rediss://:PASSWORD@HOST")
    message = "allowed without a password" if settings.allow_insecure_redis else "by password, TLS or this machine only"
    return Check("access to Redis", True, message)


def versions(celery: str, kombu: str) -> Check:
    """Look at the versions of what carries messages.

    A worker of Celery 5.7.0 exits when its broker dies with a task in flight and a slot free; an older kombu brings the
    messages of a killed worker back after minutes only.
    """
    right = celery != "5.7.0" and _numbers(kombu) >= (5, 7)
    remedy = "" if right else "pip install 'celery[redis]>=5.6.3,<5.7' 'kombu>=5.7'"
    return Check("versions", right, f"celery {celery}, kombu {kombu}{_optional('google-cloud-aiplatform')}", remedy)


def _optional(package: str) -> str:
    with suppress(PackageNotFoundError):
        return f", {package} {version(package)}"
    return ""


def _broker(settings: Settings) -> Iterator[Check]:
    import redis

    url = settings.broker_url.get_secret_value()
    try:
        info = redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=5).info()
    except (redis.RedisError, ValueError) as error:
        yield Check("broker", False, f"{masked(url)}: {error}", f"start Redis, or set {variable('broker_url')}")
        return
    yield from redis_is_fit(masked(url), info)
    yield from _workers(settings)


def redis_is_fit(url: str, info: Mapping[str, Any]) -> Iterator[Check]:
    """Look at what Redis tells of itself (INFO): whether it may lose messages."""
    number = str(info["redis_version"])
    young = _numbers(number) >= OLDEST_REDIS
    yield Check("broker", young, f"{url}: Redis {number}", "" if young else "use Redis 6.2 or later, or Valkey")
    kept = bool(info.get("aof_enabled"))
    yield Check(
        "persistence",
        kept,
        "appendonly is on" if kept else "appendonly is off: messages are lost when Redis restarts",
        "" if kept else "redis-cli config set appendonly yes (and in redis.conf)",
    )
    policy = str(info.get("maxmemory_policy", "unknown"))
    remedy = "" if policy == "noeviction" else "redis-cli config set maxmemory-policy noeviction (and in redis.conf)"
    yield Check("eviction", policy == "noeviction", f"maxmemory-policy is {policy}", remedy)


def _workers(settings: Settings) -> Iterator[Check]:
    listening = _listening(settings)
    for queue in queues.ALL:
        count = listening.count(queue)
        short = queue.removeprefix("promptmill.")
        message = f"{count} listening" if count else "nobody listens, so runs stand still"
        yield Check(f"worker for {short}", bool(count), message, "" if count else f"promptmill worker --queues {short}")


def _listening(settings: Settings) -> list[str]:
    """Return the queues that workers listen to, each as often as there are workers for it."""
    from celery import Celery

    app = Celery("promptmill-doctor", set_as_current=False)
    app.config_from_object(queues.options(settings))
    with app:
        answers = app.control.inspect(timeout=ANSWER_WITHIN).active_queues() or {}
    return [str(queue["name"]) for node in answers.values() for queue in node]


def _google(settings: Settings) -> Iterator[Check]:
    try:
        yield from bucket_access("checks")(settings)
    except NotInstalled as missing:
        yield Check("Google Cloud", None, f"not looked at from here: {missing}")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(piece) for piece in text.split(".")[:2] if piece.isdigit())
