"""The settings: one frozen object, validated at start, the only reader of the environment."""

import os
import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from promptmill.config import spans
from promptmill.config.errors import ConfigurationError
from promptmill.config.urls import is_insecure_redis, mask_password

MIB = 1 << 20
_URL_PATTERN = re.compile(r"[a-z][a-z0-9+.-]*://")
_SINK_PREFIXES = ("gs://", "/", "bq://", "postgresql://", "https://", "http://")


class Settings(BaseSettings):
    """What a process needs to know; read from the environment, explicit arguments win.

    Google's, Celery's and Flower's own variable names where they exist, ``PROMPTMILL_…`` for the rest.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_prefix="PROMPTMILL_"
    )

    project: Annotated[str, Field(validation_alias="GOOGLE_CLOUD_PROJECT")] = ""
    """Google Cloud project that owns the jobs."""
    location: Annotated[str, Field(validation_alias="GOOGLE_CLOUD_LOCATION")] = "global"
    """Vertex AI location of the jobs."""
    broker_url: Annotated[SecretStr, Field(validation_alias="CELERY_BROKER_URL")] = SecretStr(
        "redis://127.0.0.1:6379/0"
    )
    """Redis that carries Celery's messages."""
    redis_url: SecretStr | None = None
    """Redis that holds the index of runs; the broker's when not set."""
    allow_insecure_redis: bool = False
    """Work with a Redis on another machine without password or TLS, on a network that is private."""
    bucket: str = ""
    """Where everything about a run is kept: ``gs://bucket/prefix``."""
    storage_emulator_host: Annotated[str, Field(validation_alias="STORAGE_EMULATOR_HOST")] = ""
    """Cloud Storage emulator in place of Google's; read by the storage library itself too."""
    bigquery_emulator_host: Annotated[str, Field(validation_alias="BIGQUERY_EMULATOR_HOST")] = ""
    """BigQuery emulator in place of Google's; read by the BigQuery library itself too."""
    vertex_endpoint: str = ""
    """``http://…`` base URL of a server that speaks the Vertex AI API, in place of Google's."""
    model: str = ""
    """Model of runs that name none."""
    run_deadline: Annotated[float, Field(ge=0)] = 0.0
    """Seconds, or a span such as 36h, after which runs that name no deadline end with what they have; 0: never."""
    max_cost_usd_per_run: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """USD that a run may cost; runs may ask for less. Workers heed their own, whatever a producer says; 0: no limit."""
    sinks: str = ""
    """Where runs may have results written, beside the mill's own bucket: ``gs://bucket/folder/``, ``/folder/``,
    ``bq://project.dataset``, ``postgresql://host/database`` and ``https://host/path/``, with commas between; all below is
    allowed. What the workers are told counts.
    """
    named_sinks: SecretStr = SecretStr("")
    """Sinks that runs use by name, so that their secrets stay with the workers: a JSON object of URLs, or of objects with
    ``url`` and ``secret`` (by which webhooks are signed).
    """
    webhook_secret: SecretStr = SecretStr("")
    """By which webhooks are signed that have no secret of their own: ``whsec_`` and 24 to 64 bytes in base64."""

    sources: str = ""
    """Where workers may read rows from for whoever sends them a source: ``gs://bucket/folder/``, with commas between; all
    below is allowed. Empty: nowhere.
    """

    callback_tasks: str = ""
    """Patterns of the names of tasks that runs may have called, such as ``shop.*``, with commas between. Empty: all on the
    mill's own broker, to which whoever can send a run can send them too, and none on another.
    """
    callback_broker_url: SecretStr | None = None
    """Redis to which callbacks are sent; the broker's when not set. Only workers need it."""

    max_requests_per_job: Annotated[int, Field(ge=1, le=200_000)] = 200_000
    """Vertex refuses jobs of more than 200,000 requests."""
    max_bytes_per_job: Annotated[int, Field(ge=16 * MIB, le=1_000_000_000)] = 950_000_000
    """Vertex refuses input files over 1 GB."""
    max_request_bytes: Annotated[int, Field(ge=1024, le=15 * MIB)] = 10 * MIB
    """A longer request is refused before anything is sent."""
    chunk_bytes: Annotated[int, Field(ge=16 * 1024, le=4 * MIB)] = 512 * 1024
    """A message is closed when its requests reach this size, before compression."""
    max_queued_bytes: Annotated[int, Field(ge=MIB)] = 16 * MIB
    """A producer waits while this much is queued for ingestion."""
    pool_requests: Annotated[int, Field(ge=1, le=200_000)] = 100_000
    """A run is cut from a pool when it holds this many requests."""
    pool_bytes: Annotated[int, Field(ge=MIB, le=1_000_000_000)] = 500_000_000
    """A run is cut from a pool when its requests take this many bytes."""
    pool_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """A run is cut from a pool when this long has passed since the oldest of its requests was stored."""
    part_bytes: Annotated[int, Field(ge=1024, le=64 * MIB)] = 4 * MIB
    """How much of a job's output one task parses."""

    max_open_jobs: Annotated[int, Field(ge=1)] = 1000
    """How many jobs may be open at once, over all workers."""
    max_creates_per_minute: Annotated[int, Field(ge=1)] = 120
    """How many jobs may be created in a minute, over all workers."""

    poll_interval: Annotated[float, Field(gt=0, le=60)] = 3.0
    """Seconds between two looks at the open jobs while news is expected soon."""
    poll_max_interval: Annotated[float, Field(gt=0, le=60)] = 60.0
    """Longest time between two looks."""
    reconcile_interval: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Seconds between two sweeps for work that stands still."""
    takeover_seconds: Annotated[float, Field(ge=3, le=600)] = 30.0
    """Seconds after which, at most, others take over what a dead worker was at; the same in all processes on a broker."""
    create_timeout: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Seconds to wait for the answer to the creation of a job."""
    creation_visibility_seconds: Annotated[float, Field(ge=0, le=3600)] = 120.0
    """How long after an unanswered creation its job may still turn up in Vertex's list. A creation begins in the first half
    of that time or not at all, so it is to be twice ``create_timeout`` at least."""
    late_queued_seconds: Annotated[float, Field(ge=0)] = 72 * 3600.0
    """How long a job may wait in Vertex's queue before people are told; Vertex lets none wait for longer."""
    late_running_seconds: Annotated[float, Field(ge=0)] = 24 * 3600.0
    """How long a job may run before people are told; Vertex ends one after 24 hours."""
    late_cancelling_seconds: Annotated[float, Field(ge=0)] = 600.0
    """How long a job may take to stop before people are told."""
    late_open_seconds: Annotated[float, Field(ge=0)] = 3600.0
    """How long a run may take to be sent in full before people are told."""
    give_up_seconds: Annotated[float, Field(ge=0)] = 3600.0
    """How long after a run was to end its jobs may take to do so, before they are given up."""
    lost_seconds: Annotated[float, Field(ge=0)] = 3600.0
    """How long Vertex may not know a job that it has created before the job is called lost."""

    log_format: Annotated[str, Field(pattern="^(text|json)$")] = "text"
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @field_validator("run_deadline", mode="before")
    @classmethod
    def _parse_run_deadline(cls, value: object) -> object:
        return spans.parse_duration(value) if isinstance(value, str) else value

    @field_validator("bucket")
    @classmethod
    def _check_bucket(cls, value: str) -> str:
        if value and not (value.startswith("gs://") and len(value) > len("gs://")):
            raise ValueError("must look like gs://bucket or gs://bucket/prefix")
        return value.rstrip("/")

    @field_validator("sinks")
    @classmethod
    def _check_sinks(cls, value: str) -> str:
        if not all(sink.startswith(_SINK_PREFIXES) for sink in _split_list(value)):
            raise ValueError(
                f"must be places that begin with {', '.join(_SINK_PREFIXES)}, with commas between"
            )
        return value

    @field_validator("named_sinks")
    @classmethod
    def _check_named_sinks(cls, value: SecretStr) -> SecretStr:
        _parse_named_sinks(value)
        return value

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, value: str) -> str:
        if not all(source.startswith("gs://") for source in _split_list(value)):
            raise ValueError("must be places like gs://bucket/folder/, with commas between")
        return value

    @field_validator("vertex_endpoint", "storage_emulator_host", "bigquery_emulator_host")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @property
    def sink_allowlist(self) -> tuple[str, ...]:
        """Where runs may have results written, beside the mill's own bucket; each ends in a slash."""
        return tuple(
            prefix if prefix.endswith("/") else f"{prefix}/" for prefix in _split_list(self.sinks)
        )

    def get_named_sink(self, name: str) -> "NamedSink":
        """Return the sink that the workers know by this name; raises ConfigurationError."""
        sinks_by_name = _parse_named_sinks(self.named_sinks)
        if name not in sinks_by_name:
            raise ConfigurationError(
                f"sink {name[:80]}: {variable_name('named_sinks')} of the workers has none of this name"
            )
        return sinks_by_name[name]

    @property
    def source_allowlist(self) -> tuple[str, ...]:
        """Where workers may read rows from; each ends in a slash."""
        return tuple(prefix.rstrip("/") + "/" for prefix in _split_list(self.sources))

    @property
    def callback_patterns(self) -> tuple[str, ...]:
        """Patterns of the names of tasks that runs may have called."""
        patterns = tuple(_split_list(self.callback_tasks))
        return patterns or (() if self.callback_broker_url else ("*",))

    @property
    def index_url(self) -> str:
        """URL of the Redis that holds the index of runs, with its secret."""
        return (self.redis_url or self.broker_url).get_secret_value()

    def refuse_insecure_redis(self) -> None:
        """Raise ConfigurationError when Redis is on another machine and lets everybody in, unless that is allowed.

        Whoever reaches it could read the prompts that wait there, and have jobs created.
        """
        for name in ("broker_url", "redis_url", "callback_broker_url"):
            secret: SecretStr | None = getattr(self, name)
            if (
                secret
                and is_insecure_redis(url := secret.get_secret_value())
                and not self.allow_insecure_redis
            ):
                raise ConfigurationError(
                    f"{variable_name(name)}: {url} is on another machine and asks for no password; use "
                    f"rediss://:PASSWORD@HOST, or set {variable_name('allow_insecure_redis')}=1 on a private network"
                )

    @property
    def parent(self) -> str:
        """Vertex's name of the place where jobs live: ``projects/…/locations/…``."""
        return f"projects/{self.get_required('project')}/locations/{self.location}"

    def get_required(self, name: str) -> str:
        """Return the value of setting ``name``; raises ConfigurationError that names its variable when it is empty."""
        value = str(getattr(self, name))
        if not value:
            raise ConfigurationError(f"{variable_name(name)} is not set")
        return value


class NamedSink(msgspec.Struct, frozen=True):
    """A sink that the workers know by its name; both are secret."""

    url: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"NamedSink({mask_password(self.url)!r})"


def _parse_named_sinks(value: SecretStr) -> dict[str, NamedSink]:
    """Return the sinks by name; what is wrong with them is told without a word of what they hold."""
    try:
        sinks_by_name = msgspec.json.decode(
            value.get_secret_value() or "{}", type=dict[str, str | NamedSink]
        )
    except msgspec.MsgspecError:
        raise ValueError(
            'must be JSON such as {"warehouse": "postgresql://…", "crm": {"url": "https://…"}}'
        ) from None
    return {
        name: NamedSink(sink) if isinstance(sink, str) else sink
        for name, sink in sinks_by_name.items()
    }


def _split_list(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def load_settings(**explicit: object) -> Settings:
    """Build the settings from the environment and ``explicit`` values (None counts as not given).

    Raises ConfigurationError naming every variable that is wrong.
    """
    try:
        return Settings(**{name: value for name, value in explicit.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError("; ".join(_error_messages(error))) from None


def _error_messages(error: ValidationError) -> list[str]:
    return [
        f"{variable_name(str(details['loc'][0]))}: {details['msg'].removeprefix('Value error, ')}"
        for details in error.errors()
    ]


class SettingValue(NamedTuple):
    """A setting as people may see it: its variable, its value with passwords masked, and where that comes from."""

    variable: str
    value: str
    origin: str


def list_settings(settings: Settings) -> Iterator[SettingValue]:
    """Yield all settings; the origin is ``default``, ``environment`` or ``argument``."""
    environment = {name.upper() for name in os.environ}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        display_value = _display_value(
            value.get_secret_value() if isinstance(value, SecretStr) else value,
            isinstance(value, SecretStr),
        )
        # pydantic-settings reads the second where the first is another's name, too.
        is_set = environment & {variable_name(name), f"PROMPTMILL_{name.upper()}"}
        origin = "environment" if is_set else "argument"
        yield SettingValue(
            variable_name(name),
            display_value,
            origin if name in settings.model_fields_set else "default",
        )


def _display_value(value: object, secret: bool) -> str:
    if secret and value and not _URL_PATTERN.match(str(value)):
        return "***"
    return "" if value is None else ",".join(map(mask_password, str(value).split(",")))


def variable_name(name: str) -> str:
    """Return the environment variable of the setting ``name``."""
    field = Settings.model_fields.get(name)
    if field and field.validation_alias:
        return str(field.validation_alias)
    return name if name.isupper() else f"PROMPTMILL_{name.upper()}"
