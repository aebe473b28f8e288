"""Vertex AI's batch prediction jobs behind the ``BatchJobs`` port."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

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
from promptmill.config.settings import Settings
from promptmill.config.tables import BIGQUERY_SCHEME
from promptmill.workers.adapters import failures
from promptmill.workers.ports.google import Job, JobRequest

_TIMEOUT = 20.0
_PAGE_SIZE = 100


def open_jobs(settings: Settings) -> "VertexJobs":
    """Connect to Vertex in the project and location of ``settings``; raises ConfigurationError."""
    return VertexJobs(_make_client(settings), settings.parent, settings.create_timeout)


def _make_client(settings: Settings) -> Any:
    endpoint = settings.vertex_endpoint
    options: dict[str, Any] = {
        "client_options": ClientOptions(api_endpoint=endpoint or api_host(settings.location))
    }
    if endpoint.startswith("http://"):
        from google.auth.credentials import AnonymousCredentials

        options["credentials"] = AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        client: Any = aiplatform_v1.JobServiceClient(transport="rest", **options)
    except auth_exceptions.DefaultCredentialsError as error:
        raise ConfigurationError(
            "no Google credentials: run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    client.transport._session.hooks["response"].append(_strip_error_details)
    return client


def _strip_error_details(response: Any, **_: object) -> None:
    """Take the details out of the errors in an answer.

    The client needs to know the type of each and cannot read an answer that has another one: a job that failed with such
    an error would never be seen to end, nor would any that is looked at beside it.
    """
    if response.ok and b'"details"' in response.content:
        with suppress(ValueError):
            response._content = json.dumps(
                json.loads(response.content, object_hook=_drop_details)
            ).encode()


def _drop_details(json_object: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in json_object.items()
        if name != "details" or not isinstance(value, list)
    }


def api_host(location: str) -> str:
    """Return the API host of a location; the global endpoint has no prefix."""
    return (
        "aiplatform.googleapis.com"
        if location == "global"
        else f"{location}-aiplatform.googleapis.com"
    )


class VertexJobs:
    """The jobs of one project and location. Build one in each process: its sockets must not be shared over a fork."""

    def __init__(self, client: Any, parent: str, create_timeout: float) -> None:
        self._client = client
        self._parent = parent
        self._create_timeout = create_timeout

    def create(self, request: JobRequest) -> Job:
        """Create a job in one try: the client retries nothing by default, and must not, as each creation is billed."""
        job = aiplatform_v1.BatchPredictionJob(
            display_name=request.display_name,
            model=request.model,
            labels=request.labels,
            **_job_config(request),
        )
        with _translate_errors(creating=True):
            created_job = self._client.create_batch_prediction_job(
                parent=self._parent,
                batch_prediction_job=job,
                timeout=self._create_timeout,
                retry=None,
            )
            return _to_job(created_job, self._job_name(created_job))

    def get(self, name: str) -> Job:
        """Return a job."""
        with _translate_errors():
            return _to_job(self._client.get_batch_prediction_job(name=name, timeout=_TIMEOUT), name)

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        """Return the jobs that the filter admits, page by page."""
        request = aiplatform_v1.ListBatchPredictionJobsRequest(
            parent=self._parent, filter=filter, page_size=_PAGE_SIZE
        )
        with _translate_errors():
            for job in self._client.list_batch_prediction_jobs(request=request, timeout=_TIMEOUT):
                yield _to_job(job, self._job_name(job))

    def cancel(self, name: str) -> None:
        """Ask for a job's cancellation; Vertex refuses it for a job that has ended, which is as good."""
        try:
            with _translate_errors():
                self._client.cancel_batch_prediction_job(name=name, timeout=_TIMEOUT)
        except Permanent:
            if not self.get(name).has_ended:
                raise

    def _job_name(self, job: Any) -> str:
        """A job has one name here, whether an answer calls the project by its id or, as Vertex does, by its number."""
        return f"{self._parent}/batchPredictionJobs/{job.name.rpartition('/')[2]}"


def _job_config(request: JobRequest) -> dict[str, Any]:
    """Where a job reads and writes, in Google's words."""
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


def _output_location(output_info: Any) -> str:
    """Where a job wrote: a folder, or a table as ``bq://project.dataset.table``."""
    if output_info.bigquery_output_table:
        table = output_info.bigquery_output_table.rpartition(".")[2]
        return f"{BIGQUERY_SCHEME}{output_info.bigquery_output_dataset.removeprefix(BIGQUERY_SCHEME)}.{table}"
    return str(output_info.gcs_output_directory)


def _to_job(job: Any, name: str) -> Job:
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


def _state_name(state: Any) -> str:
    """The name of a state; one that this client does not know comes as a bare number, and is not an end."""
    return str(getattr(state, "name", f"JOB_STATE_{int(state)}"))


def _to_epoch_seconds(timestamp: Any) -> float:
    return float(timestamp.timestamp()) if timestamp else 0.0


@contextmanager
def _translate_errors(*, creating: bool = False) -> Iterator[None]:
    """The one place where the client's errors become ours; an answer that is no job at all comes as a ParseError."""
    try:
        yield
    except (*failures.GOOGLE_ERRORS, json_format.Error) as error:
        raise _classify_error(error, creating) from error


def _classify_error(error: Exception, creating: bool) -> PromptmillError:
    """A creation that is forbidden is refused for good: the run is to end with the words of the service, not wait."""
    message = f"Vertex: {failures.describe_error(error)}"
    if failures.http_status(error) == HTTPStatus.NOT_FOUND:
        return NotFound(message)
    if failures.is_denied(error) and not (
        creating and failures.http_status(error) == HTTPStatus.FORBIDDEN
    ):
        return Denied(message)
    if not failures.is_transient(error):
        return Permanent(message)
    return (
        Transient(message)
        if not creating or failures.had_no_effect(error)
        else OutcomeUnknown(message)
    )
