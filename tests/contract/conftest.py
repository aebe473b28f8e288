"""The sides of each contract: fakes, adapters with our emulators, and with fake-gcs-server."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from contract.reference import running_reference
from promptmill.config.settings import load_settings
from promptmill.local.services import BUCKET
from promptmill.workers.adapters.storage import StorageBucket, open_bucket
from promptmill.workers.adapters.vertex import VertexJobs, open_jobs
from promptmill.workers.fakes import FakeJobs, MemoryBucket
from promptmill.workers.ports.google import BatchJobs, Bucket
from support.local_stack import LocalStack, running, surroundings

SIDES = ("fake", "real", "reference")
LATENCY = 0.5
"""Seconds that a job takes."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Cloud Storage's and Vertex's stand-ins, as processes."""
    with running(
        tmp_path_factory.mktemp("stack"), ("storage", "emulator"), latency=LATENCY, settings={}
    ) as running_stack:
        yield running_stack


@pytest.fixture(scope="session")
def reference_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """fake-gcs-server in the place of our own stand-in for Cloud Storage."""
    with running_reference(tmp_path_factory.mktemp("reference"), BUCKET) as url:
        yield url


@pytest.fixture(scope="session")
def reference_emulator_url(
    reference_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Vertex's stand-in before it."""
    where = {"STORAGE_EMULATOR_HOST": reference_url}
    with running(
        tmp_path_factory.mktemp("stack"), ("emulator",), latency=LATENCY, settings=where
    ) as stack:
        yield stack.environment["PROMPTMILL_VERTEX_ENDPOINT"]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis."""
    with running(tmp_path_factory.mktemp("broker"), ("redis",), settings={}) as stack:
        yield stack.environment["CELERY_BROKER_URL"]


@pytest.fixture
def real_bucket(stack: LocalStack) -> Iterator[Callable[[str], StorageBucket]]:
    """Open a folder of its own in the real bucket, through the server at a URL."""
    opened: list[StorageBucket] = []

    def open_at(url: str) -> StorageBucket:
        with surroundings({"STORAGE_EMULATOR_HOST": url}):
            opened.append(open_bucket(f"gs://{BUCKET}/{uuid.uuid4().hex}", "p"))
        return opened[-1]

    yield open_at
    for bucket in opened:
        bucket._client.close()


@pytest.fixture
def real_jobs() -> Iterator[Callable[..., VertexJobs]]:
    """Connect to the server at a URL."""
    opened: list[VertexJobs] = []

    def open_at(url: str, create_timeout: float = 20.0) -> VertexJobs:
        settings = load_settings(vertex_endpoint=url, project="p", create_timeout=create_timeout)
        opened.append(open_jobs(settings))
        return opened[-1]

    yield open_at
    for jobs in opened:
        jobs._client.transport.close()


@pytest.fixture
def storage_url(stack: LocalStack) -> str:
    return stack.environment["STORAGE_EMULATOR_HOST"]


@pytest.fixture
def emulator_url(stack: LocalStack) -> str:
    return stack.environment["PROMPTMILL_VERTEX_ENDPOINT"]


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bucket(side: str, request: pytest.FixtureRequest) -> Bucket:
    """An empty folder of a bucket."""
    if side == "fake":
        return MemoryBucket()
    real: Callable[[str], Bucket] = request.getfixturevalue("real_bucket")
    return real(request.getfixturevalue("storage_url" if side == "real" else "reference_url"))


@pytest.fixture
def jobs(side: str, request: pytest.FixtureRequest, bucket: Bucket) -> BatchJobs:
    """Jobs that read and write in the bucket."""
    if isinstance(bucket, MemoryBucket):
        return FakeJobs(bucket, duration=LATENCY)
    real: Callable[[str], BatchJobs] = request.getfixturevalue("real_jobs")
    return real(
        request.getfixturevalue("emulator_url" if side == "real" else "reference_emulator_url")
    )
