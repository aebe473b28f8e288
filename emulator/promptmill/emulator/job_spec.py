"""The body of batchPredictionJobs.create, with Google's validation."""

import re

import msgspec

from .errors import ApiError
from .json_types import JsonObject

MAX_DISPLAY_NAME = 128
MAX_LABELS = 64
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_GCS_URI = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?", re.DOTALL)

_TABLE_URI = re.compile(r"bq://[^./]+\.\w+\.[\w-]+", re.ASCII)


class GoogleMessage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A message in Google's JSON: camelCase, unknown fields forbidden."""


class GcsSource(GoogleMessage, frozen=True):
    """JSONL objects; a URI may end in a wildcard."""

    uris: list[str] = []


class BigQuerySource(GoogleMessage, frozen=True):
    """A table of requests, as `bq://project.dataset.table`."""

    input_uri: str = ""


class BigQueryDestination(GoogleMessage, frozen=True):
    """The table for the answers."""

    output_uri: str = ""


class InputConfig(GoogleMessage, frozen=True):
    """The source of the requests."""

    instances_format: str = ""
    gcs_source: GcsSource | None = None
    bigquery_source: BigQuerySource | None = None
    vertex_multimodal_dataset_source: JsonObject | None = None


class GcsDestination(GoogleMessage, frozen=True):
    """The folder under which the job creates its own."""

    output_uri_prefix: str = ""


class OutputConfig(GoogleMessage, frozen=True):
    """The destination of the answers."""

    predictions_format: str = ""
    gcs_destination: GcsDestination | None = None
    bigquery_destination: BigQueryDestination | None = None
    vertex_multimodal_dataset_destination: JsonObject | None = None


class JobSpec(GoogleMessage, frozen=True):
    """A batch prediction job as its creator describes it.

    Fields set by the server (`name`, `state`, times) are accepted and ignored, as in
    Google's APIs.
    """

    display_name: str = ""
    model: str = ""
    input_config: InputConfig = InputConfig()
    output_config: OutputConfig = OutputConfig()
    labels: dict[str, str] = {}
    instance_config: JsonObject = {}
    model_parameters: object = None
    name: str = ""
    state: str | int = 0
    create_time: str = ""
    update_time: str = ""
    service_account: str = ""
    encryption_spec: JsonObject = {}
    generate_explanation: bool = False
    disable_container_logging: bool = False

    @property
    def input_uris(self) -> list[str]:
        """The input objects."""
        return self.input_config.gcs_source.uris if self.input_config.gcs_source else []

    @property
    def input_table(self) -> str:
        """The input table, or ""."""
        source = self.input_config.bigquery_source
        return source.input_uri if source else ""

    @property
    def output_table(self) -> str:
        """The output table, or ""."""
        destination = self.output_config.bigquery_destination
        return destination.output_uri if destination else ""

    @property
    def output_prefix(self) -> str:
        """The output folder without a trailing slash."""
        destination = self.output_config.gcs_destination
        return destination.output_uri_prefix.rstrip("/") if destination else ""


def read_spec(body: bytes) -> JobSpec:
    """Decode and validate a create call. Raises ApiError 400 or 501."""
    try:
        spec = msgspec.json.decode(body, type=JobSpec)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(400, f"Invalid JSON payload received. {error}") from error
    _check_name(spec)
    _check_input(spec.input_config)
    _check_output(spec.output_config)
    if spec.output_table and not spec.input_table:
        raise ApiError(501, "This emulator writes to a table only if it reads from one.")
    _check_labels(spec.labels)
    return spec


def _check_name(spec: JobSpec) -> None:
    if not spec.display_name:
        raise ApiError(400, "The display name is required: display_name.")
    if len(spec.display_name) > MAX_DISPLAY_NAME:
        raise ApiError(400, f"display_name must be at most {MAX_DISPLAY_NAME} characters.")
    if not spec.model:
        raise ApiError(400, "The model is required: model.")


def _check_input(config: InputConfig) -> None:
    if config.vertex_multimodal_dataset_source:
        raise ApiError(501, "This emulator reads its input from Cloud Storage and BigQuery only.")
    if config.bigquery_source:
        _check_table(config.instances_format, "instances_format", config.bigquery_source.input_uri)
        return
    if config.instances_format != "jsonl":
        raise ApiError(
            400, f"Unsupported instances_format {config.instances_format!r}: must be 'jsonl'."
        )
    if not config.gcs_source or not config.gcs_source.uris:
        raise ApiError(400, "The input source is required: input_config.gcs_source.uris.")
    for uri in config.gcs_source.uris:
        _check_uri(uri, "input_config.gcs_source.uris")


def _check_output(config: OutputConfig) -> None:
    if config.vertex_multimodal_dataset_destination:
        raise ApiError(501, "This emulator writes its output to Cloud Storage and BigQuery only.")
    if config.bigquery_destination:
        output_uri = config.bigquery_destination.output_uri
        _check_table(config.predictions_format, "predictions_format", output_uri)
        return
    _check_storage_output(config)


def _check_storage_output(config: OutputConfig) -> None:
    if config.predictions_format != "jsonl":
        raise ApiError(
            400, f"Unsupported predictions_format {config.predictions_format!r}: must be 'jsonl'."
        )
    if not config.gcs_destination:
        raise ApiError(400, "The output destination is required: output_config.gcs_destination.")
    prefix = config.gcs_destination.output_uri_prefix
    _check_uri(prefix, "output_config.gcs_destination.output_uri_prefix")


def _check_table(kind: str, field: str, uri: str) -> None:
    if kind != "bigquery":
        raise ApiError(400, f"Unsupported {field} {kind!r}: must be 'bigquery'.")
    if not _TABLE_URI.fullmatch(uri):
        raise ApiError(
            400, f"Invalid BigQuery table {uri!r}: must have the form bq://project.dataset.table."
        )


def _check_uri(uri: str, field: str) -> None:
    if not _GCS_URI.fullmatch(uri):
        raise ApiError(400, f"Invalid Cloud Storage URI {uri!r} in {field}.")


def _check_labels(labels: dict[str, str]) -> None:
    if len(labels) > MAX_LABELS:
        raise ApiError(400, f"At most {MAX_LABELS} labels are allowed.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise ApiError(400, f"Invalid label {key!r}: {value!r}.")
