"""Checks access to the bucket and Vertex AI for ``promptmill doctor``: entry point ``checks``.

The model is not checked: Vertex has no call that works for every kind of model. It refuses
an unknown model when the job is created, at no cost.
"""

import uuid
from collections.abc import Callable, Iterator
from functools import partial

from promptmill.config.errors import ConfigurationError, NotFound, PromptmillError, Transient
from promptmill.config.settings import Settings
from promptmill.producers.checks import Check
from promptmill.workers.cli_support.bucket_advice import advise_on_bucket
from promptmill.workers.ports.google import BatchJobs, Bucket

LOGIN_COMMAND = "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
EMPTY_JOB_FILTER = 'display_name="promptmill-doctor"'
"""A filter that matches no job, so that the response is always small."""


def run_checks(settings: Settings) -> Iterator[Check]:
    """Check the bucket and Vertex AI, whichever of them are configured."""
    if settings.bucket:
        access = _check_bucket(settings)
        yield access
        if access.ok:
            yield from _check_bucket_settings(settings)
    if settings.project:
        yield _check_vertex(settings)


def _check_bucket(settings: Settings) -> Check:
    name = _bucket_name(settings)
    fixes = {
        NotFound: f"gcloud storage buckets create gs://{name}",
        Transient: "check the network, STORAGE_EMULATOR_HOST and https://status.cloud.google.com",
    }
    grant = (
        f"gcloud storage buckets add-iam-policy-binding gs://{name} "
        "--role roles/storage.objectUser --member MEMBER"
    )
    return _run_probe("bucket access", partial(_probe_storage, settings), fixes, grant)


def _bucket_name(settings: Settings) -> str:
    return settings.bucket.removeprefix("gs://").partition("/")[0]


# Runs need no permission to read these settings, so its lack is no failure.
def _check_bucket_settings(settings: Settings) -> list[Check]:
    from promptmill.workers.adapters.storage import open_bucket

    name = _bucket_name(settings)
    try:
        found = open_bucket(settings.bucket, settings.project).fetch_settings()
    except PromptmillError as error:
        grant = (
            f"gcloud storage buckets describe gs://{name} "
            '--format="default(location,soft_delete_policy)"'
        )
        return [Check("bucket settings", None, f"not checked: {error}", grant)]
    return advise_on_bucket(name, found, settings.location)


def _check_vertex(settings: Settings) -> Check:
    fixes = {
        NotFound: "check GOOGLE_CLOUD_LOCATION and PROMPTMILL_VERTEX_ENDPOINT",
        Transient: "check the network and PROMPTMILL_VERTEX_ENDPOINT",
    }
    project = settings.project
    grant = (
        f"gcloud services enable aiplatform.googleapis.com --project {project}; "
        f"gcloud projects add-iam-policy-binding {project} "
        "--role roles/aiplatform.user --member MEMBER"
    )
    return _run_probe("Vertex AI", partial(_probe_vertex, settings), fixes, grant)


def _probe_storage(settings: Settings) -> str:
    from promptmill.workers.adapters.storage import open_bucket

    return probe_bucket(open_bucket(settings.bucket, settings.project))


def _probe_vertex(settings: Settings) -> str:
    from promptmill.workers.adapters.vertex import open_jobs

    probe_jobs(open_jobs(settings))
    return f"{settings.vertex_endpoint or 'Google'} lists the jobs of {settings.parent}"


def probe_bucket(bucket: Bucket) -> str:
    """Create, read, list and delete an object. Returns a message; raises PromptmillError."""
    name = f"doctor/{uuid.uuid4().hex}"
    if not bucket.create(name, b"1"):
        raise PromptmillError(f"{bucket.url} reports that a new object already exists")
    try:
        _check_object(bucket, name)
    finally:
        bucket.delete(name)
    return f"{bucket.url}: objects can be created (only once), read, listed and deleted"


def _check_object(bucket: Bucket, name: str) -> None:
    if bucket.create(name, b"2") or bucket.read(name) != b"1":
        raise PromptmillError(
            f"{bucket.url} lets two writers create the same object: it ignores if_generation_match"
        )
    if [stored.name for stored in bucket.list(name)] != [name]:
        raise PromptmillError(f"{bucket.url} does not list an object that exists")


def probe_jobs(jobs: BatchJobs) -> None:
    """List jobs, which is free; raises the errors of Vertex."""
    next(iter(jobs.list(EMPTY_JOB_FILTER)), None)


def _run_probe(
    name: str, probe: Callable[[], str], fixes: dict[type[PromptmillError], str], default_fix: str
) -> Check:
    try:
        return Check(name, True, probe())
    except ConfigurationError as error:
        return Check(name, False, str(error), LOGIN_COMMAND)
    except PromptmillError as error:
        return Check(name, False, str(error), fixes.get(type(error), default_fix))
