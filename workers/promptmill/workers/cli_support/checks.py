"""What can be wrong between Promptmill and Google, for ``promptmill doctor``; found there as the entry point ``checks``.

That the model exists is not looked at: Vertex has no call that tells so for every kind of model, and refuses an unknown
one when the job is created, which costs nothing.
"""

import uuid
from collections.abc import Callable, Iterator

from promptmill.config.errors import ConfigurationError, NotFound, PromptmillError, Transient
from promptmill.config.settings import Settings
from promptmill.producers.checks import Check
from promptmill.workers.ports.google import BatchJobs, Bucket

LOGIN_COMMAND = "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
EMPTY_JOB_FILTER = 'display_name="promptmill-doctor"'
"""A filter that no job passes, so that the answer is small whatever there is."""


def run_checks(settings: Settings) -> Iterator[Check]:
    """Look at the bucket and at Vertex, as far as the settings say where they are."""
    if settings.bucket:
        yield _check_bucket(settings)
    if settings.project:
        yield _check_vertex(settings)


def _check_bucket(settings: Settings) -> Check:
    def probe() -> str:
        from promptmill.workers.adapters.storage import open_bucket

        return probe_bucket(open_bucket(settings.bucket, settings.project))

    name = settings.bucket.removeprefix("gs://").partition("/")[0]
    fixes = {
        NotFound: f"gcloud storage buckets create gs://{name}",
        Transient: "look at the network, at STORAGE_EMULATOR_HOST and at https://status.cloud.google.com",
    }
    grant = f"gcloud storage buckets add-iam-policy-binding gs://{name} --role roles/storage.objectUser --member MEMBER"
    return _run_probe("bucket access", probe, fixes, grant)


def _check_vertex(settings: Settings) -> Check:
    def probe() -> str:
        from promptmill.workers.adapters.vertex import open_jobs

        probe_jobs(open_jobs(settings))
        return f"{settings.vertex_endpoint or 'Google'} lists the jobs of {settings.parent}"

    fixes = {
        NotFound: "look at GOOGLE_CLOUD_LOCATION and PROMPTMILL_VERTEX_ENDPOINT",
        Transient: "look at the network and at PROMPTMILL_VERTEX_ENDPOINT",
    }
    project = settings.project
    grant = (
        f"gcloud services enable aiplatform.googleapis.com --project {project}; "
        f"gcloud projects add-iam-policy-binding {project} --role roles/aiplatform.user --member MEMBER"
    )
    return _run_probe("Vertex AI", probe, fixes, grant)


def probe_bucket(bucket: Bucket) -> str:
    """Do to a small object all that a run does to its own; returns what was seen, raises what the bucket raises."""
    name = f"doctor/{uuid.uuid4().hex}"
    if not bucket.create(name, b"1"):
        raise PromptmillError(f"{bucket.url} says that a new object exists already")
    try:
        if bucket.create(name, b"2") or bucket.read(name) != b"1":
            raise PromptmillError(
                f"{bucket.url} lets two writers create one object (if_generation_match is ignored)"
            )
        if [stored.name for stored in bucket.list(name)] != [name]:
            raise PromptmillError(f"{bucket.url} does not list an object that is there")
    finally:
        bucket.delete(name)
    return f"{bucket.url} can be written, read, listed and deleted, and an object is created once"


def probe_jobs(jobs: BatchJobs) -> None:
    """Ask for a list of jobs, which costs nothing; raises what Vertex raises."""
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
