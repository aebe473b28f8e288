"""Real failures between the real clients and real servers: answers lost, cut, late or refused."""

import gc
import socket
import uuid
from collections.abc import Callable, Iterator

import pytest

from promptmill.config.errors import (
    ConfigurationError,
    Conflict,
    Denied,
    NotFound,
    OutcomeUnknown,
    Permanent,
    Transient,
)
from promptmill.config.settings import Settings
from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.adapters.storage import StorageBucket
from promptmill.workers.adapters.vertex import VertexJobs
from promptmill.workers.ports.google import JobRequest
from promptmill.workers.services import build_services
from support.local_stack import surroundings
from support.proxy import HOST, HttpProxy

# Google's libraries leave a connection that broke to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*<socket:pytest.PytestUnraisableExceptionWarning"
)

UPLOAD = "/upload/.*"
DOWNLOAD = "/download/.*"
CREATE = r".*/batchPredictionJobs\?.*"
MIB = 1 << 20
OpenBucket = Callable[[str], StorageBucket]
OpenJobs = Callable[..., VertexJobs]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Have what was left behind collected before the next test."""
    yield
    gc.collect()


@pytest.fixture
def storage_proxy(storage_url: str) -> Iterator[HttpProxy]:
    with HttpProxy(storage_url) as proxy:
        yield proxy


@pytest.fixture
def emulator_proxy(emulator_url: str) -> Iterator[HttpProxy]:
    with HttpProxy(emulator_url) as proxy:
        yield proxy


@pytest.fixture
def bucket(real_bucket: OpenBucket, storage_proxy: HttpProxy) -> StorageBucket:
    return real_bucket(storage_proxy.url)


@pytest.fixture
def jobs(real_jobs: OpenJobs, emulator_proxy: HttpProxy) -> VertexJobs:
    return real_jobs(emulator_proxy.url)


@pytest.fixture
def asked() -> JobRequest:
    name = uuid.uuid4().hex
    return JobRequest(
        name,
        "publishers/google/models/gemini-3.8-flash",
        "gs://bucket/in",
        "gs://bucket/out",
        {"run": name},
    )


@pytest.fixture
def nobody() -> str:
    """A URL at which nobody listens."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return f"http://{HOST}:{taken.getsockname()[1]}"


def created(jobs: VertexJobs, asked: JobRequest) -> int:
    return sum(1 for _ in jobs.list(f'display_name="{asked.display_name}"'))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_storage_that_fails_for_a_while_is_asked_again(
    bucket: StorageBucket, storage_proxy: HttpProxy, status: int
) -> None:
    storage_proxy.fail("POST", UPLOAD, status=status)
    storage_proxy.fail("GET", DOWNLOAD, status=status)

    assert bucket.create("fact", b"1")
    assert bucket.read("fact") == b"1"


def test_a_fact_whose_answer_was_lost_is_written_all_the_same(
    bucket: StorageBucket, storage_proxy: HttpProxy
) -> None:
    storage_proxy.drop_answer("POST", UPLOAD)

    assert not bucket.create("fact", b"1")
    assert bucket.read("fact") == b"1"


def test_who_wrote_an_intent_knows_it_even_when_the_answer_was_lost(
    bucket: StorageBucket, storage_proxy: HttpProxy
) -> None:
    storage_proxy.drop_answer("POST", UPLOAD)

    assert bucket.create("intent.json", b'{"owner":"me"}')
    assert not bucket.create("intent.json", b'{"owner":"you"}')


def test_who_took_an_intent_over_knows_it_even_when_the_answer_was_lost(
    bucket: StorageBucket, storage_proxy: HttpProxy
) -> None:
    bucket.create("intent.json", b'{"owner":"gone"}')
    seen = bucket.find("intent.json")
    assert seen is not None
    storage_proxy.drop_answer("POST", UPLOAD)

    bucket.replace("intent.json", b'{"owner":"me"}', seen.generation)

    assert bucket.read("intent.json") == b'{"owner":"me"}'
    with pytest.raises(Conflict):
        bucket.replace("intent.json", b'{"owner":"you"}', seen.generation)


@pytest.mark.parametrize("size", [100, 3 * MIB])
def test_a_truncated_body_is_never_treated_as_complete(
    bucket: StorageBucket, storage_proxy: HttpProxy, size: int
) -> None:
    data = bytes(range(100)) * (size // 100)
    bucket.write("output", data)
    stored = bucket.find("output")
    assert stored is not None
    storage_proxy.cut("GET", DOWNLOAD, after=size // 2, times=2)

    assert bucket.read("output") == data
    assert bucket.read_range("output", 0, size, stored.generation) == data


def test_a_long_upload_survives_failing_pieces(
    bucket: StorageBucket, storage_proxy: HttpProxy
) -> None:
    pieces = [bytes([n]) * MIB for n in range(10)]
    storage_proxy.fail("PUT", UPLOAD, status=503)

    assert bucket.write_stream("input.jsonl", iter(pieces)) == 10 * MIB
    assert bucket.read("input.jsonl") == b"".join(pieces)


@pytest.mark.parametrize(("status", "kind"), [(400, Permanent), (401, Denied), (403, Denied)])
def test_storage_that_refuses_is_not_asked_again(
    bucket: StorageBucket, storage_proxy: HttpProxy, status: int, kind: type[Exception]
) -> None:
    storage_proxy.fail("GET", DOWNLOAD, status=status, times=99)

    with pytest.raises(kind, match=f"{status}|no token"):
        bucket.read("fact")
    assert len(storage_proxy.seen("GET", DOWNLOAD)) <= 3


def test_a_bucket_that_does_not_exist_is_named(real_bucket: OpenBucket, storage_url: str) -> None:
    bucket = real_bucket(storage_url)
    missing = StorageBucket(bucket._client, "no-such-bucket", "mill")

    def write_much() -> None:
        missing.write_stream("x", [b"x" * (5 * MIB)])

    for call in (
        lambda: missing.write("x", b""),
        lambda: missing.create("x", b""),
        lambda: [*missing.list("")],
        write_much,
    ):
        with pytest.raises(NotFound, match=r"bucket gs://no-such-bucket does not exist$"):
            call()
    assert not missing.exists()
    with pytest.raises(NotFound, match="gs://no-such-bucket/mill/x"):
        missing.read("x")


def test_a_bucket_that_is_missing_is_told_by_the_setting_or_the_sink_that_names_it(
    storage_url: str,
) -> None:
    settings = Settings(bucket="gs://no-mill/here", project="p", sinks="gs://")
    sink = SinkSpec("jsonl", "gs://no-sink/out")
    with surroundings({"STORAGE_EMULATOR_HOST": storage_url}):
        services = build_services(settings)
        with pytest.raises(
            NotFound, match=r"^bucket gs://no-mill does not exist \(PROMPTMILL_BUCKET\)$"
        ):
            services.bucket.write("x", b"")
        words = "^sink gs://no-sink/out cannot be written: bucket gs://no-sink does not exist$"
        with pytest.raises(ConfigurationError, match=words):
            services.open_sink(sink, "run").check()
        with pytest.raises(Permanent, match=words):
            services.open_sink(sink, "run").deliver("part", b"")


def test_a_creation_whose_answer_was_lost_is_not_sent_again(
    jobs: VertexJobs, emulator_proxy: HttpProxy, asked: JobRequest
) -> None:
    emulator_proxy.drop_answer("POST", CREATE)

    with pytest.raises(OutcomeUnknown):
        jobs.create(asked)
    assert len(emulator_proxy.seen("POST", CREATE)) == 1
    assert created(jobs, asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_creation_that_vertex_failed_may_have_happened(
    jobs: VertexJobs, emulator_proxy: HttpProxy, asked: JobRequest, status: int
) -> None:
    emulator_proxy.replace_answer("POST", CREATE, status=status)

    with pytest.raises(OutcomeUnknown, match=str(status)):
        jobs.create(asked)
    assert created(jobs, asked) == 1


def test_a_creation_that_takes_too_long_may_have_happened(
    real_jobs: OpenJobs, emulator_proxy: HttpProxy, asked: JobRequest
) -> None:
    emulator_proxy.delay("POST", CREATE, seconds=10.0)

    with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
        real_jobs(emulator_proxy.url, create_timeout=0.3).create(asked)


def test_a_creation_whose_answer_was_cut_may_have_happened(
    jobs: VertexJobs, emulator_proxy: HttpProxy, asked: JobRequest
) -> None:
    emulator_proxy.cut("POST", CREATE, after=20)

    with pytest.raises(OutcomeUnknown):
        jobs.create(asked)
    assert created(jobs, asked) == 1


def test_a_creation_that_was_put_off_created_nothing(
    jobs: VertexJobs, emulator_proxy: HttpProxy, asked: JobRequest
) -> None:
    emulator_proxy.fail("POST", CREATE, status=429)

    with pytest.raises(Transient) as caught:
        jobs.create(asked)
    assert type(caught.value) is Transient
    assert created(jobs, asked) == 0


def test_a_creation_that_reached_nobody_created_nothing(
    real_jobs: OpenJobs, nobody: str, asked: JobRequest
) -> None:
    jobs = real_jobs(nobody)

    with pytest.raises(Transient) as caught:
        jobs.create(asked)
    assert type(caught.value) is Transient
    with pytest.raises(Transient):
        jobs.get("projects/p/locations/l/batchPredictionJobs/1")


@pytest.mark.parametrize("status", [400, 403])
def test_a_creation_that_is_refused_is_refused_for_good(
    jobs: VertexJobs, emulator_proxy: HttpProxy, asked: JobRequest, status: int
) -> None:
    emulator_proxy.fail("POST", CREATE, status=status)

    with pytest.raises(Permanent, match=str(status)):
        jobs.create(asked)


def test_a_look_that_fails_is_for_a_later_look(
    jobs: VertexJobs, emulator_proxy: HttpProxy, asked: JobRequest
) -> None:
    job = jobs.create(asked)
    emulator_proxy.fail("GET", ".*", status=503)
    emulator_proxy.refuse("GET", ".*")
    emulator_proxy.cut("GET", ".*", after=5)
    emulator_proxy.fail("GET", ".*", status=429)

    for _ in range(4):
        with pytest.raises(Transient):
            jobs.get(job.name)
    assert jobs.get(job.name).name == job.name
