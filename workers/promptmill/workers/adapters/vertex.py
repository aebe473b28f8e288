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
    Permanent,
    PromptmillError,
    Transient,
    Unanswered,
)
from promptmill.config.settings import Settings
from promptmill.config.tables import SCHEME
from promptmill.workers.adapters import failures
from promptmill.workers.ports.google import Job, JobRequest

_TIMEOUT = 20.0
_PAGE = 100


def open_jobs(settings: Settings) -> "VertexJobs":
    """Connect to Vertex in the project and location of ``settings``; raises ConfigurationError."""
    return VertexJobs(_client(settings), settings.parent, settings.create_timeout)


def _client(settings: Settings) -> Any:
    endpoint = settings.vertex_endpoint
    options: dict[str, Any] = {"client_options": ClientOptions(api_endpoint=endpoint or host(settings.location))}
    if endpoint.startswith("http://"):
        from google.auth.credentials import AnonymousCredentials

        options["credentials"] = AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        client: Any = aiplatform_v1.JobServiceClient(transport="rest", **options)
    except auth_exceptions.DefaultCredentialsError as error:
        raise ConfigurationError(
            "no Google credentials: run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    client.transport._session.hooks["response"].append(_leave_out_details)
    return client


def _leave_out_details(answer: Any, **_: object) -> None:
    """Take the details out of the errors in an answer.

    The client needs to know the type of each and cannot read an answer that has another one: a job that failed with such
    an error would never be seen to end, nor would any that is looked at beside it.
    """
    if answer.ok and b'"details"' in answer.content:
        with suppress(ValueError):
            answer._content = json.dumps(json.loads(answer.content, object_hook=_without_details)).encode()


def _without_details(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name != "details" or not isinstance(value, list)}


def host(location: str) -> str:
    """Return the API host of a location; the global endpoint has no prefix."""
    return "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"


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
            **_places(request),
        )
        with _translated(creating=True):
            made = self._client.create_batch_prediction_job(
                parent=self._parent, batch_prediction_job=job, timeout=self._create_timeout, retry=None
            )
            return _job(made, self._name(made))

    def get(self, name: str) -> Job:
        """Return a job."""
        with _translated():
            return _job(self._client.get_batch_prediction_job(name=name, timeout=_TIMEOUT), name)

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        """Return the jobs that the filter admits, page by page."""
        request = aiplatform_v1.ListBatchPredictionJobsRequest(parent=self._parent, filter=filter, page_size=_PAGE)
        with _translated():
            for job in self._client.list_batch_prediction_jobs(request=request, timeout=_TIMEOUT):
                yield _job(job, self._name(job))

    def cancel(self, name: str) -> None:
        """Ask for a job's cancellation; Vertex refuses it for a job that has ended, which is as good."""
        try:
            with _translated():
                self._client.cancel_batch_prediction_job(name=name, timeout=_TIMEOUT)
        except Permanent:
            if not self.get(name).ended:
                raise

    def _name(self, job: Any) -> str:
        """A job has one name here, whether an answer calls the project by its id or, as Vertex does, by its number."""
        return f"{self._parent}/batchPredictionJobs/{job.name.rpartition('/')[2]}"


def _places(request: JobRequest) -> dict[str, Any]:
    """Where a job reads and writes, in Google's words."""
    if request.input_uri.startswith(SCHEME):
        return {
            "input_config": {"instances_format": "bigquery", "bigquery_source": {"input_uri": request.input_uri}},
            "output_config": {
                "predictions_format": "bigquery",
                "bigquery_destination": {"output_uri": request.output_uri},
            },
        }
    return {
        "input_config": {"instances_format": "jsonl", "gcs_source": {"uris": [request.input_uri]}},
        "output_config": {"predictions_format": "jsonl", "gcs_destination": {"output_uri_prefix": request.output_uri}},
    }


def _output(told: Any) -> str:
    """Where a job wrote: a folder, or a table as ``bq://project.dataset.table``."""
    if told.bigquery_output_table:
        table = told.bigquery_output_table.rpartition(".")[2]
        return f"{SCHEME}{told.bigquery_output_dataset.removeprefix(SCHEME)}.{table}"
    return str(told.gcs_output_directory)


def _job(job: Any, name: str) -> Job:
    stats = job.completion_stats
    return Job(
        name=name,
        state=_state(job.state),
        display_name=job.display_name,
        labels=dict(job.labels),
        create_time=_seconds(job.create_time),
        start_time=_seconds(job.start_time),
        end_time=_seconds(job.end_time),
        output_directory=_output(job.output_info),
        error_code=job.error.code,
        error_message=job.error.message,
        successful_count=stats.successful_count if stats else -1,
        failed_count=stats.failed_count if stats else -1,
    )


def _state(state: Any) -> str:
    """The name of a state; one that this client does not know comes as a bare number, and is not an end."""
    return str(getattr(state, "name", f"JOB_STATE_{int(state)}"))


def _seconds(time: Any) -> float:
    return float(time.timestamp()) if time else 0.0


@contextmanager
def _translated(*, creating: bool = False) -> Iterator[None]:
    """The one place where the client's errors become ours; an answer that is no job at all comes as a ParseError."""
    try:
        yield
    except (*failures.FOREIGN, json_format.Error) as error:
        raise _translation(error, creating) from error


def _translation(error: Exception, creating: bool) -> PromptmillError:
    """A creation that is forbidden is refused for good: the run is to end with the words of the service, not wait."""
    words = f"Vertex: {failures.words(error)}"
    if failures.code(error) == HTTPStatus.NOT_FOUND:
        return NotFound(words)
    if failures.is_denied(error) and not (creating and failures.code(error) == HTTPStatus.FORBIDDEN):
        return Denied(words)
    if not failures.may_pass(error):
        return Permanent(words)
    return Transient(words) if not creating or failures.had_no_effect(error) else Unanswered(words)
