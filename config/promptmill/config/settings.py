"""Settings: one frozen, validated object. Nothing else reads the environment."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple

import msgspec
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from promptmill.config import spans
from promptmill.config.errors import ConfigurationError
from promptmill.config.locations import GLOBAL, find_closest, is_location
from promptmill.config.urls import is_insecure_redis, mask_password

MIB = 1 << 20
_URL_PATTERN = re.compile(r"[a-z][a-z0-9+.-]*://")
_TYPE_RULES = {
    "int_parsing": "is not a whole number",
    "float_parsing": "is not a number",
    "bool_parsing": "is not true or false",
}
_SINK_PREFIXES = ("gs://", "/", "bq://", "postgresql://", "https://", "http://")


class Settings(BaseSettings):
    """Settings of a process, from the environment. Explicit arguments take precedence.

    Variables of Google, Celery and Flower keep their names. All others start with
    ``PROMPTMILL_``.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_prefix="PROMPTMILL_"
    )

    project: Annotated[str, Field(validation_alias="GOOGLE_CLOUD_PROJECT")] = ""
    """Google Cloud project that owns the jobs."""
    location: Annotated[str, Field(validation_alias="GOOGLE_CLOUD_LOCATION")] = "global"
    """Vertex AI location of the jobs: ``global``, ``us``, ``eu`` or a region.

    The value of the workers decides where jobs run. Models differ in their locations: see
    ``promptmill models``.
    """
    broker_url: Annotated[SecretStr, Field(validation_alias="CELERY_BROKER_URL")] = SecretStr(
        "redis://127.0.0.1:6379/0"
    )
    """URL of the Redis that carries Celery's messages."""
    redis_url: SecretStr | None = None
    """URL of the Redis that holds the run index."""
    allow_insecure_redis: bool = False
    """Allow a Redis on another machine without password or TLS. Set it on private
    networks only.
    """
    bucket: str = ""
    """Bucket folder for all data of all runs: ``gs://bucket/prefix``."""
    storage_emulator_host: Annotated[str, Field(validation_alias="STORAGE_EMULATOR_HOST")] = ""
    """URL of a Cloud Storage emulator. Google's storage library reads this variable
    too.
    """
    bigquery_emulator_host: Annotated[str, Field(validation_alias="BIGQUERY_EMULATOR_HOST")] = ""
    """URL of a BigQuery emulator. Google's BigQuery library reads this variable too."""
    vertex_endpoint: str = ""
    """Base URL of a server to use in place of Vertex AI, ``http://…``."""
    model: str = ""
    """Default model of runs, for example ``gemini-3.8-flash``."""
    model_checks: Annotated[str, Field(pattern="^(refuse|warn)$")] = "refuse"
    """What happens to a run that its model would refuse: ``refuse`` or ``warn``.

    The table of models can be older than Google's. With ``warn`` the run is sent, with a
    warning.
    """
    run_deadline: Annotated[float, Field(ge=0)] = 0.0
    """Default deadline of runs: seconds, or a duration such as 36h. 0 means no
    deadline.
    """
    max_cost_usd_per_run: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Upper limit of the cost of each run in USD. Workers apply their own value. 0
    means no limit.
    """
    sinks: str = ""
    """Locations outside the bucket where runs can write results, separated by commas.
    Everything below them is allowed. The value of the workers counts. Examples:
    ``gs://bucket/folder/``, ``/folder/``, ``bq://project.dataset``,
    ``postgresql://host/database``, ``https://host/path/``.
    """
    named_sinks: SecretStr = SecretStr("")
    """Sinks that runs use by name, so that secrets stay with the workers. A JSON
    object: each value is a URL, or an object with ``url`` and ``secret`` (the signing
    secret of a webhook).
    """
    webhook_secret: SecretStr = SecretStr("")
    """Default signing secret of webhooks: ``whsec_`` and 24 to 64 bytes in base64."""

    sources: str = ""
    """Locations from which workers can read rows, separated by commas:
    ``gs://bucket/folder/``. Everything below them is allowed. Default: none.
    """

    callback_tasks: str = ""
    """Patterns of task names that runs can use as callbacks, separated by commas, for
    example ``shop.*``. Default: all tasks on Promptmill's own broker, none on another
    broker.
    """
    callback_broker_url: SecretStr | None = None
    """URL of the Redis that receives callbacks. Only workers need it."""

    max_requests_per_job: Annotated[int, Field(ge=1, le=200_000)] = 200_000
    """Maximum number of requests in a job. Vertex accepts at most 200,000."""
    max_embeddings_per_job: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000_000
    """Maximum number of rows in a job of an embedding model. Vertex accepts 1,000,000."""
    max_bytes_per_job: Annotated[int, Field(ge=16 * MIB, le=1_000_000_000)] = 950_000_000
    """Maximum size of a job's input file in bytes. Vertex accepts at most 1 GB."""
    max_request_bytes: Annotated[int, Field(ge=1024, le=15 * MIB)] = 10 * MIB
    """Maximum size of a request in bytes. A larger request is an invalid row."""
    chunk_bytes: Annotated[int, Field(ge=16 * 1024, le=4 * MIB)] = 512 * 1024
    """Size of the requests in one message, in bytes before compression."""
    max_queued_bytes: Annotated[int, Field(ge=MIB)] = 16 * MIB
    """Size of the ingest queue, in bytes, at which producers wait."""
    pool_requests: Annotated[int, Field(ge=1, le=200_000)] = 100_000
    """Number of requests at which a pool becomes a run."""
    pool_bytes: Annotated[int, Field(ge=MIB, le=1_000_000_000)] = 500_000_000
    """Size of the requests, in bytes, at which a pool becomes a run."""
    pool_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """Age of the oldest request, in seconds, at which a pool becomes a run."""
    part_bytes: Annotated[int, Field(ge=1024, le=64 * MIB)] = 4 * MIB
    """Size of the job output that one task parses, in bytes."""

    max_open_jobs: Annotated[int, Field(ge=1)] = 1000
    """Maximum number of open jobs, over all workers."""
    max_creates_per_minute: Annotated[int, Field(ge=1)] = 120
    """Maximum number of jobs created per minute, over all workers."""

    poll_interval: Annotated[float, Field(gt=0, le=60)] = 3.0
    """Shortest time between two polls of the open jobs, in seconds."""
    poll_max_interval: Annotated[float, Field(gt=0, le=60)] = 60.0
    """Longest time between two polls of the open jobs, in seconds."""
    reconcile_interval: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Time between two sweeps for stalled work, in seconds."""
    takeover_seconds: Annotated[float, Field(ge=3, le=600)] = 30.0
    """Longest time until the work of a dead worker is taken over, in seconds. All
    processes on a broker need the same value.
    """
    create_timeout: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Timeout of a request that creates a job, in seconds."""
    creation_visibility_seconds: Annotated[float, Field(ge=0, le=3600)] = 120.0
    """Time in which a job can still appear in Vertex's list after its creation was not
    answered, in seconds. Use at least twice ``PROMPTMILL_CREATE_TIMEOUT``: with less, a
    job can be paid twice.
    """
    retry_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 300.0
    """Time before the job of a retry after an error at Google that stopped the whole job, or
    while Google provisions the service agents of a new project, in seconds. It doubles with
    each stopped job in a row.
    """
    provisioning_seconds: Annotated[float, Field(ge=0, le=86_400)] = 3600.0
    """Time in which rows are retried without counting an attempt, because Google failed
    before it asked the model, in seconds.
    """
    late_queued_seconds: Annotated[float, Field(ge=0)] = 72 * 3600.0
    """Time in Vertex's queue after which a job gets a warning, in seconds. Vertex's
    limit is 72 hours.
    """
    late_running_seconds: Annotated[float, Field(ge=0)] = 24 * 3600.0
    """Running time after which a job gets a warning, in seconds. Vertex's limit is 24
    hours.
    """
    late_cancelling_seconds: Annotated[float, Field(ge=0)] = 600.0
    """Time after its cancellation at which a job gets a warning, in seconds."""
    late_open_seconds: Annotated[float, Field(ge=0)] = 3600.0
    """Age at which an incompletely submitted run gets a warning, in seconds."""
    abandon_seconds: Annotated[float, Field(ge=0)] = 3600.0
    """Time after a deadline or cancellation until jobs are abandoned, in seconds."""
    lost_seconds: Annotated[float, Field(ge=0)] = 3600.0
    """Time that a created job can be missing in Vertex before it counts as lost, in
    seconds.
    """

    log_format: Annotated[str, Field(pattern="^(text|json)$")] = "text"
    """Format of log lines: ``text`` or ``json``."""
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    """Lowest level that is logged: DEBUG, INFO, WARNING or ERROR."""

    @field_validator("run_deadline", mode="before")
    @classmethod
    def _parse_run_deadline(cls, value: object) -> object:
        return spans.parse_duration(value) if isinstance(value, str) else value

    @field_validator("location")
    @classmethod
    def _check_location(cls, value: str) -> str:
        if not value or is_location(value):
            return value or GLOBAL
        raise ValueError(f"is not a location of Vertex AI; did you mean {find_closest(value)}?")

    @field_validator("bucket")
    @classmethod
    def _check_bucket(cls, value: str) -> str:
        if value and not (value.startswith("gs://") and len(value) > len("gs://")):
            raise ValueError("must have the form gs://bucket or gs://bucket/prefix")
        return value.rstrip("/")

    @field_validator("sinks")
    @classmethod
    def _check_sinks(cls, value: str) -> str:
        if not all(sink.startswith(_SINK_PREFIXES) for sink in _split_list(value)):
            raise ValueError(
                f"must be locations that start with {', '.join(_SINK_PREFIXES)}, "
                "separated by commas"
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
            raise ValueError("must be locations such as gs://bucket/folder/, separated by commas")
        return value

    @field_validator("vertex_endpoint", "storage_emulator_host", "bigquery_emulator_host")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        if "generativelanguage.googleapis.com" in value:
            raise ValueError(
                "is the Gemini Developer API, which has no labels and no list filter, so a job "
                "could not be found after a crash; use Vertex AI"
            )
        return value.rstrip("/")

    @property
    def sink_allowlist(self) -> tuple[str, ...]:
        """Locations outside the bucket for results, each with a final slash."""
        return tuple(
            prefix if prefix.endswith("/") else f"{prefix}/" for prefix in _split_list(self.sinks)
        )

    def get_named_sink(self, name: str) -> "NamedSink":
        """Return the named sink; raises ConfigurationError if it does not exist."""
        sinks_by_name = _parse_named_sinks(self.named_sinks)
        if name not in sinks_by_name:
            raise ConfigurationError(
                f"sink {name[:80]!r} is not in {variable_name('named_sinks')} of the workers; "
                "add it there"
            )
        return sinks_by_name[name]

    @property
    def source_allowlist(self) -> tuple[str, ...]:
        """Locations from which workers can read rows, each with a final slash."""
        return tuple(prefix.rstrip("/") + "/" for prefix in _split_list(self.sources))

    @property
    def callback_patterns(self) -> tuple[str, ...]:
        """Patterns of task names that runs can use as callbacks."""
        patterns = tuple(_split_list(self.callback_tasks))
        return patterns or (() if self.callback_broker_url else ("*",))

    @property
    def refuses_by_model(self) -> bool:
        """Whether a run or request that its model would refuse is refused at once."""
        return self.model_checks == "refuse"

    @property
    def index_url(self) -> str:
        """URL of the Redis that holds the run index, including its password."""
        return (self.redis_url or self.broker_url).get_secret_value()

    def refuse_insecure_redis(self) -> None:
        """Raise ConfigurationError for a remote Redis without password and TLS."""
        # Anyone who reaches such a Redis can read prompts and create jobs.
        for name in ("broker_url", "redis_url", "callback_broker_url"):
            secret: SecretStr | None = getattr(self, name)
            url = secret.get_secret_value() if secret else ""
            if url and is_insecure_redis(url) and not self.allow_insecure_redis:
                raise ConfigurationError(
                    f"{variable_name(name)}: {url} is on another machine and has no password; "
                    "use rediss://:PASSWORD@HOST, or on a private network set "
                    f"{variable_name('allow_insecure_redis')}=1"
                )

    @property
    def parent(self) -> str:
        """Parent resource of the jobs in Vertex: ``projects/…/locations/…``."""
        return f"projects/{self.get_required('project')}/locations/{self.location}"

    def get_required(self, name: str) -> str:
        """Return a setting; raises ConfigurationError if it is empty."""
        value = str(getattr(self, name))
        if not value and name == "model":
            raise ConfigurationError(
                "no model: pass --model (Python: model=) or set PROMPTMILL_MODEL"
            )
        if not value:
            raise ConfigurationError(
                f"{variable_name(name)} is not set; set this environment variable"
            )
        return value


class NamedSink(msgspec.Struct, frozen=True):
    """URL and signing secret of a named sink. Both are secret."""

    url: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"NamedSink({mask_password(self.url)!r})"


def _parse_named_sinks(value: SecretStr) -> dict[str, NamedSink]:
    """Return the sinks by name. Errors never quote the value, which is secret."""
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
    """Build the settings from the environment and ``explicit`` values.

    None means that a value is not given. Raises ConfigurationError with every invalid
    variable, or with an unknown name.
    """
    _refuse_unknown_settings(explicit)
    try:
        given = {name: value for name, value in explicit.items() if value is not None}
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError("; ".join(_error_messages(error))) from None


def _refuse_unknown_settings(explicit: Iterable[str]) -> None:
    if unknown := [name for name in explicit if name not in Settings.model_fields]:
        (closest,) = difflib.get_close_matches(unknown[0], Settings.model_fields, n=1, cutoff=0.0)
        message = f"unknown setting {unknown[0]!r}; the closest known setting is {closest!r}"
        raise ConfigurationError(message)


def _error_messages(error: ValidationError) -> list[str]:
    return [
        f"{variable_name(str(details['loc'][0]))}: {_describe_problem(details)}"
        for details in error.errors()
    ]


def _describe_problem(details: ErrorDetails) -> str:
    """Return the problem of a setting. The value of a secret is not quoted."""
    message = details["msg"]
    if details["type"] == "value_error":
        return message.removeprefix("Value error, ")
    rule = _TYPE_RULES.get(details["type"]) or message.replace("Input should ", "must ", 1)
    value = details["input"]
    is_secret = _is_secret(str(details["loc"][0]))
    return rule if is_secret else f"{str(value)[:80]!r} {rule}"


def _is_secret(name: str) -> bool:
    return any(
        name in (field_name, variable_name(field_name)) and "SecretStr" in str(field.annotation)
        for field_name, field in Settings.model_fields.items()
    )


class SettingValue(NamedTuple):
    """A setting for display: variable, value with masked passwords, and origin."""

    variable: str
    value: str
    origin: str


def list_settings(settings: Settings) -> Iterator[SettingValue]:
    """Yield all settings; the origin is default, environment or argument."""
    environment = {name.upper() for name in os.environ}
    for name in Settings.model_fields:
        display_value = _display_value(getattr(settings, name))
        is_set = environment & _variable_names(name)
        origin = "environment" if is_set else "argument"
        yield SettingValue(
            variable_name(name),
            display_value,
            origin if name in settings.model_fields_set else "default",
        )


def _display_value(value: object) -> str:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(value, SecretStr) and text and not _URL_PATTERN.match(str(text)):
        return "***"
    return "" if text is None else ",".join(map(mask_password, str(text).split(",")))


def list_unknown_variables() -> Iterator[tuple[str, str]]:
    """Yield unknown ``PROMPTMILL_`` variables of the environment, each with a similar
    setting or an empty text.
    """
    known = set().union(*map(_variable_names, Settings.model_fields))
    for variable in sorted(os.environ):
        if variable.startswith("PROMPTMILL_") and variable not in known:
            similar = difflib.get_close_matches(variable, known, n=1, cutoff=0.8)
            yield variable, similar[0] if similar else ""


def describe_default_broker(settings: Settings) -> str:
    """Return a note if the broker is not configured; otherwise an empty text."""
    if "broker_url" in settings.model_fields_set:
        return ""
    url = settings.broker_url.get_secret_value()
    return f"{variable_name('broker_url')} is not set; using {url}"


def _variable_names(name: str) -> set[str]:
    # For a variable of Google's or Celery's, pydantic-settings reads both names.
    return {variable_name(name), f"PROMPTMILL_{name.upper()}"}


def variable_name(name: str) -> str:
    """Return the environment variable of the setting ``name``."""
    if (field := Settings.model_fields.get(name)) and field.validation_alias:
        return str(field.validation_alias)
    return name if name.isupper() else f"PROMPTMILL_{name.upper()}"
