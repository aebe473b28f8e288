"""Vertex AI's batch prediction jobs behind the ``BatchJobs`` port."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypedDict

import requests
from google.api_core.client_options import ClientOptions
from google.auth import exceptions as auth_exceptions
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from promptmill.config.errors import (
    ConfigurationError,
    Denied,
    NotFound,
    OutcomeUnknown,
    Permanent,
    PromptmillError,
    Transient,
)
from promptmill.config.locations import get_api_host
from promptmill.config.settings import Settings
from promptmill.config.tables import BIGQUERY_SCHEME
from promptmill.workers.adapters import creation_advice, failures
from promptmill.workers.ports.google import Job, JobRequest

if TYPE_CHECKING:
    OutputInfo = aiplatform_v1.BatchPredictionJob.OutputInfo

TIMEOUT = 20.0
"""Seconds until a call that creates nothing is abandoned."""
_PAGE_SIZE = 100


def open_jobs(settings: Settings) -> "VertexJobs":
    """Connect to Vertex in the settings' project and location. Raises ConfigurationError."""
    client = make_client(aiplatform_v1.JobServiceClient, settings)
    return VertexJobs(client, settings.parent, settings.create_timeout)


def make_client(client_class: Any, settings: Settings) -> Any:
    """Return a client of the API host of the settings. Raises ConfigurationError."""
    endpoint = settings.vertex_endpoint
    host = endpoint or get_api_host(settings.location)
    try:
        client: Any = client_class(
            transport="rest",
            client_options=ClientOptions(api_endpoint=host),
            credentials=_choose_credentials(endpoint),
        )
    except auth_exceptions.DefaultCredentialsError as error:
        raise ConfigurationError(failures.NO_CREDENTIALS) from error
    client.transport._session.hooks["response"].append(_strip_error_details)
    return client


def _choose_credentials(endpoint: str) -> Any:
    """Return anonymous credentials for an emulator, and None for the default ones."""
    if not endpoint.startswith("http://"):
        return None
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def _strip_error_details(response: requests.Response, **_: object) -> None:
    """Remove the details of errors from a response.

    The client cannot read a response with a detail of an unknown type. Without this, a
    job with such an error would never be seen to end, nor the others of its page.
    """
    if response.ok and b'"details"' in response.content:
        with suppress(ValueError):
            response._content = json.dumps(
                json.loads(response.content, object_hook=_drop_details)
            ).encode()


def _drop_details(json_object: dict[str, object]) -> dict[str, object]:
    if isinstance(json_object.get("details"), list):
        del json_object["details"]
    return json_object


class VertexJobs:
    """The jobs of one project and location.

    Build one per process: sockets must not survive a fork.
    """

    def __init__(self, client: Any, parent: str, create_timeout: float) -> None:
        self._client = client
        self._parent = parent
        self._create_timeout = create_timeout

    def create(self, request: JobRequest) -> Job:
        """Create a job in one attempt. The client must not retry, as each job is billed."""
        job = _describe_job(request)
        with translate_errors(creating=True):
            created_job = self._client.create_batch_prediction_job(
                parent=self._parent,
                batch_prediction_job=job,
                timeout=self._create_timeout,
                retry=None,
            )
            return _to_job(created_job, self._job_name(created_job))

    def get(self, name: str) -> Job:
        """Return a job."""
        with translate_errors():
            return _to_job(self._client.get_batch_prediction_job(name=name, timeout=TIMEOUT), name)

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        """Return the jobs that match the filter, page by page."""
        request = aiplatform_v1.ListBatchPredictionJobsRequest(
            parent=self._parent, filter=filter, page_size=_PAGE_SIZE
        )
        with translate_errors():
            for job in self._client.list_batch_prediction_jobs(request=request, timeout=TIMEOUT):
                yield _to_job(job, self._job_name(job))

    def cancel(self, name: str) -> None:
        """Request the cancellation of a job. Vertex refuses it after the end, which is fine."""
        try:
            with translate_errors():
                self._client.cancel_batch_prediction_job(name=name, timeout=TIMEOUT)
        except Permanent:
            if not self.get(name).has_ended:
                raise

    def delete(self, name: str) -> None:
        """Request the deletion of a job that has ended. Raises NotFound, Transient."""
        with translate_errors():
            self._client.delete_batch_prediction_job(name=name, timeout=TIMEOUT)

    def _job_name(self, job: aiplatform_v1.BatchPredictionJob) -> str:
        """Return a job's name with the project's id. Vertex uses the project's number."""
        return f"{self._parent}/batchPredictionJobs/{job.name.rpartition('/')[2]}"


def _describe_job(request: JobRequest) -> aiplatform_v1.BatchPredictionJob:
    return aiplatform_v1.BatchPredictionJob(
        display_name=request.display_name,
        model=request.model,
        labels=request.labels,
        **_job_config(request),
    )


class _JobConfig(TypedDict):
    input_config: dict[str, object]
    output_config: dict[str, object]


def _job_config(request: JobRequest) -> _JobConfig:
    """Return Google's fields for a job's input and output."""
    if request.input_uri.startswith(BIGQUERY_SCHEME):
        return {
            "input_config": {
                "instances_format": "bigquery",
                "bigquery_source": {"input_uri": request.input_uri},
            },
            "output_config": {
                "predictions_format": "bigquery",
                "bigquery_destination": {"output_uri": request.output_uri},
            },
        }
    return {
        "input_config": {"instances_format": "jsonl", "gcs_source": {"uris": [request.input_uri]}},
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": request.output_uri},
        },
    }


def _output_location(output_info: "OutputInfo") -> str:
    """Return a job's output: a folder, or a table as ``bq://project.dataset.table``."""
    if output_info.bigquery_output_table:
        table = output_info.bigquery_output_table.rpartition(".")[2]
        dataset = output_info.bigquery_output_dataset.removeprefix(BIGQUERY_SCHEME)
        return f"{BIGQUERY_SCHEME}{dataset}.{table}"
    return str(output_info.gcs_output_directory)


def _to_job(job: aiplatform_v1.BatchPredictionJob, name: str) -> Job:
    stats = job.completion_stats
    return Job(
        name=name,
        state=_state_name(job.state),
        display_name=job.display_name,
        labels=dict(job.labels),
        create_time=_to_epoch_seconds(job.create_time),
        start_time=_to_epoch_seconds(job.start_time),
        end_time=_to_epoch_seconds(job.end_time),
        output_directory=_output_location(job.output_info),
        error_code=job.error.code,
        error_message=job.error.message,
        successful_count=stats.successful_count if stats else -1,
        failed_count=stats.failed_count if stats else -1,
    )


def _state_name(state: int) -> str:
    """Return the name of a state. A state unknown to the client is a bare number."""
    return str(getattr(state, "name", f"JOB_STATE_{int(state)}"))


def _to_epoch_seconds(timestamp: Any) -> float:
    return float(timestamp.timestamp()) if timestamp else 0.0


# json_format raises ParseError for a response that is not a job.
@contextmanager
def translate_errors(*, creating: bool = False) -> Iterator[None]:
    """Raise errors of the client as those of the ports."""
    try:
        yield
    except (*failures.GOOGLE_ERRORS, json_format.Error) as error:
        raise _classify_error(error, creating) from error


# A forbidden creation is permanent, so that the run ends.
def _classify_error(error: Exception, creating: bool) -> PromptmillError:
    message = f"Vertex: {failures.describe_error(error)}"
    status = failures.http_status(error)
    if creating and creation_advice.is_provisioning(message):
        return Transient(message)
    if creating:
        is_missing = status == HTTPStatus.NOT_FOUND
        message = creation_advice.add_advice(message, is_missing=is_missing)
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(message)
    is_forbidden_creation = creating and status == HTTPStatus.FORBIDDEN
    if failures.is_denied(error) and not is_forbidden_creation:
        return Denied(message)
    if not failures.is_transient(error):
        return Permanent(message)
    if creating and not failures.had_no_effect(error):
        return OutcomeUnknown(message)
    return Transient(message)
