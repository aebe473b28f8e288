"""Google for the live check: raw job resources, deletion of jobs, and a count of all calls."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import requests

from promptmill.config.json_types import JsonObject
from promptmill.config.settings import Settings
from promptmill.workers.adapters.storage import StorageBucket, open_client
from promptmill.workers.adapters.vertex import VertexJobs, open_jobs
from promptmill.workers.ports.google import Job, JobRequest

_LIBRARIES = ("google-cloud-aiplatform", "google-cloud-storage")
OnCall = Callable[[], None]


class LiveVertexJobs:
    """The jobs of one project and location, with their resources as Vertex AI sends them."""

    def __init__(self, jobs: VertexJobs, on_call: OnCall) -> None:
        self._jobs = jobs
        self._last_body: JsonObject = {}
        self._on_call = on_call
        # The first hook sees the response before the adapter removes details of errors.
        jobs._client.transport._session.hooks["response"].insert(0, self._record_response)

    def create(self, request: JobRequest) -> tuple[Job, JsonObject]:
        """Create a job, with the errors of ``BatchJobs.create``."""
        return self._jobs.create(request), self._last_body

    def get(self, name: str) -> tuple[Job, JsonObject]:
        """Return a job. Raises NotFound, Transient."""
        return self._jobs.get(name), self._last_body

    def list(self, filter: str) -> list[Job]:  # noqa: A002
        """Return all jobs that match Google's ``filter``. Raises Transient."""
        return list(self._jobs.list(filter))

    def cancel(self, name: str) -> None:
        """Request the cancellation of a job, unless it has ended. Raises NotFound, Transient."""
        self._jobs.cancel(name)

    def delete(self, name: str) -> None:
        """Request the deletion of a job that has ended. Raises NotFound, Transient."""
        self._jobs.delete(name)

    def close(self) -> None:
        """Close the connection."""
        self._jobs._client.transport.close()

    def _record_response(self, response: requests.Response, **_: object) -> None:
        self._on_call()
        try:
            body: Any = response.json()
        except ValueError:
            body = {}
        self._last_body = body if isinstance(body, dict) else {}


def open_live_jobs(settings: Settings, on_call: OnCall) -> LiveVertexJobs:
    """Connect to Vertex AI. Raises ConfigurationError."""
    return LiveVertexJobs(open_jobs(settings), on_call)


class LiveBucket(StorageBucket):
    """The bucket, with a count of all calls."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def open_live_bucket(settings: Settings, on_call: OnCall) -> LiveBucket:
    """Open the bucket. ``on_call`` is called after each call. Raises ConfigurationError."""
    client = open_client(settings.project)
    client._http.hooks["response"].append(lambda *_, **__: on_call())
    name, _, prefix = settings.bucket.removeprefix("gs://").partition("/")
    return LiveBucket(client, name, prefix, "PROMPTMILL_BUCKET")


def list_versions() -> dict[str, str]:
    """Return the versions of Promptmill and of Google's libraries."""
    return {name: version(name) for name in ("promptmill", *_LIBRARIES)}
