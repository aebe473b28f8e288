"""No exception of a client library leaves an adapter as itself: each is Transient, Unanswered, Permanent or one of ours."""

import inspect
import json
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import google.api_core.exceptions
import google.auth.exceptions
import google.cloud.storage.exceptions
import pytest
import requests.exceptions as http
import urllib3.exceptions as wire
from google.protobuf import json_format

from promptmill.config.errors import (
    Conflict,
    Denied,
    NotFound,
    OutcomeUnknown,
    Permanent,
    Transient,
)
from promptmill.config.tables import Table
from promptmill.workers.adapters.bigquery import BigQueryWarehouse
from promptmill.workers.adapters.storage import StorageBucket
from promptmill.workers.adapters.vertex import VertexJobs
from promptmill.workers.ports.google import JobRequest
from promptmill.workers.ports.warehouse import BigQueryJob, Column

core: Any = google.api_core.exceptions
auth: Any = google.auth.exceptions
storage: Any = google.cloud.storage.exceptions
REQUEST = JobRequest("n", "gemini", "gs://b/i", "gs://b/o", {})


def classes(module: ModuleType) -> list[type[Exception]]:
    """Every exception that a module names as its own."""
    found = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__
    ]
    raised = [
        kind for kind in found if issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]
    return [
        kind for kind in raised if kind is not storage.InvalidPathError
    ]  # raised by a part that we do not use


def make(kind: type[Exception]) -> Exception:
    """Make an exception of a class, whatever its constructor wants."""
    for arguments in (
        ("words",),
        ("words", ValueError("cause")),
        (None, "words"),
        ("words", "doc", 0),
        (),
    ):
        try:
            error = kind(*arguments)
            str(error)
        except (TypeError, AttributeError):
            continue
        return error
    raise AssertionError(f"how is a {kind} made?")


class Reply:
    """An HTTP answer, as far as an InvalidResponse looks at it."""

    def __init__(self, status: int) -> None:
        self.status_code = status


class Raising:
    """A client whose every call, to whatever depth, raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return self

    def bucket(self, _name: str) -> "Raising":
        return self

    def blob(self, *_: Any, **__: Any) -> "Raising":
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise self._error


ANY_CLIENT = (core, auth, http)
BELOW = [
    ConnectionResetError("reset"), ConnectionRefusedError("refused"), TimeoutError("slow"), BrokenPipeError("broken"),
    wire.ProtocolError("cut"), wire.IncompleteRead(1, 2), wire.HTTPError("h"), json.JSONDecodeError("no JSON", "", 0),
]  # fmt: skip
STATUSES = (408, 409, 429, 499, 500, 501, 502, 503, 504)


def errors(*modules: ModuleType, others: Sequence[Exception]) -> list[Any]:
    """Return an instance of every exception of the modules, of those below them, and of every status that matters."""
    kinds = sorted(
        {kind for module in modules for kind in classes(module)}, key=lambda kind: str(kind)
    )
    made = [
        *map(make, kinds),
        *BELOW,
        *others,
        *(core.from_http_status(status, "words") for status in STATUSES),
    ]
    return [
        pytest.param(error, id=f"{type(error).__module__}.{type(error).__name__}") for error in made
    ]


def raised(call: Any, *arguments: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        result = call(*arguments)
        if result is not None:
            list(result)
    return caught.value


STORAGE = errors(
    *ANY_CLIENT,
    storage,
    others=[storage.InvalidResponse(Reply(status), "words") for status in STATUSES],
)
BIGQUERY = errors(*ANY_CLIENT, others=[ValueError("no such enum"), TypeError("no such argument")])
VERTEX = errors(*ANY_CLIENT, others=[json_format.ParseError("no such type")])


def test_an_upload_that_came_corrupted_may_be_tried_again() -> None:
    refusal = core.BadRequest(
        'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "2HvlZg==".'
    )
    bucket = StorageBucket(Raising(refusal), "b", "p")

    assert isinstance(raised(bucket.create, "n", b"data"), Transient)


@pytest.mark.parametrize("error", STORAGE)
def test_every_error_of_storage_is_classified(error: Exception) -> None:
    bucket = StorageBucket(Raising(error), "b", "p")
    calls: list[tuple[Any, ...]] = [
        (bucket.write, "n", b""),
        (bucket.write_stream, "n", [b""]),
        (bucket.write_stream, "n", [b"x" * (5 << 20)]),
        (bucket.read, "n"),
        (bucket.find, "n"),
        (bucket.list, "n"),
        (bucket.exists,),
    ]

    for call in calls:
        assert isinstance(raised(*call), Transient | Permanent)


@pytest.mark.parametrize("error", VERTEX)
def test_every_error_of_vertex_is_classified(error: Exception) -> None:
    jobs = VertexJobs(Raising(error), "projects/p/locations/l", 1.0)

    for call in ((jobs.get, "n"), (jobs.list, ""), (jobs.cancel, "n")):
        assert type(raised(*call)) in {Transient, Denied, Permanent, NotFound}
    assert type(raised(jobs.create, REQUEST)) in {
        Transient,
        Denied,
        OutcomeUnknown,
        Permanent,
        NotFound,
    }


_NO_CONNECTION = wire.NewConnectionError(None, "refused")  # type: ignore[arg-type]
REFUSED = http.ConnectionError(wire.MaxRetryError(None, "u", _NO_CONNECTION))  # type: ignore[arg-type]
CREATING: list[tuple[Exception, type[Exception]]] = [
    (core.InvalidArgument("a"), Permanent),
    (core.PermissionDenied("a"), Permanent),
    (core.Unauthenticated("a"), Denied),
    (core.FailedPrecondition("a"), Permanent),
    (core.NotFound("a"), NotFound),
    (core.MethodNotImplemented("a"), Permanent),
    (auth.RefreshError("revoked"), Denied),
    (http.InvalidURL("http://"), Permanent),
    (core.TooManyRequests("a"), Transient),
    (core.ResourceExhausted("a"), Transient),
    (core.Aborted("a"), Transient),
    (auth.RefreshError("metadata server", retryable=True), Transient),
    (auth.TransportError("metadata server"), Transient),
    (http.ConnectTimeout("a"), Transient),
    (REFUSED, Transient),
    (core.InternalServerError("a"), OutcomeUnknown),
    (core.ServiceUnavailable("a"), OutcomeUnknown),
    (core.DeadlineExceeded("a"), OutcomeUnknown),
    (core.from_http_status(408, "a"), OutcomeUnknown),
    (core.Cancelled("a"), OutcomeUnknown),
    (core.RetryError("a", ValueError()), OutcomeUnknown),
    (http.ReadTimeout("a"), OutcomeUnknown),
    (http.ConnectionError("reset"), OutcomeUnknown),
    (http.ChunkedEncodingError("cut"), OutcomeUnknown),
    (json_format.ParseError("a"), OutcomeUnknown),
]


@pytest.mark.parametrize(
    ("error", "kind"),
    CREATING,
    ids=[f"{type(row[0]).__name__}-{row[1].__name__}" for row in CREATING],
)
def test_whether_a_job_may_have_been_created_decides_what_its_creation_raises(
    error: Exception, kind: type[Exception]
) -> None:
    jobs = VertexJobs(Raising(error), "projects/p/locations/l", 1.0)

    assert type(raised(jobs.create, REQUEST)) is kind
    if kind is OutcomeUnknown:
        assert type(raised(jobs.get, "n")) is Transient


def test_a_creation_that_finds_no_model_names_the_settings_to_check() -> None:
    jobs = VertexJobs(Raising(core.NotFound("no such model")), "projects/p/locations/l", 1.0)

    assert str(raised(jobs.create, REQUEST)).endswith("check --model and GOOGLE_CLOUD_LOCATION")
    assert "--model" not in str(raised(jobs.get, "n"))


REFUSALS = [
    (core.NotFound("MODEL_NOT_SUPPORTED_FOR_BATCH"), NotFound, "GOOGLE_CLOUD_LOCATION=global"),
    (core.NotFound("The PublisherModel m does not exist."), NotFound, "check --model"),
    (core.BadRequest("Do not support publisher model m"), Permanent, "another --model"),
    (core.BadRequest("Invalid hostname"), Permanent, "PROMPTMILL_VERTEX_ENDPOINT"),
    (
        core.BadRequest("org policy constraints/gcp.resourceLocations"),
        Permanent,
        "a policy of your organisation",
    ),
    (core.Forbidden("Permission 'aiplatform.batchPredictionJobs.create' denied"), Permanent, ""),
    (core.BadRequest("Service agents are being provisioned"), Transient, ""),
]


@pytest.mark.parametrize(("error", "kind", "advice"), REFUSALS)
def test_a_refused_creation_says_what_to_change(
    error: Exception, kind: type[Exception], advice: str
) -> None:
    jobs = VertexJobs(Raising(error), "projects/p/locations/l", 1.0)
    refusal = raised(jobs.create, REQUEST)

    assert type(refusal) is kind
    assert advice in str(refusal)


STORING: list[tuple[Exception, type[Exception]]] = [
    (core.PreconditionFailed("a"), Conflict),
    (storage.InvalidResponse(Reply(412), "a"), Conflict),
    (core.NotFound("a"), NotFound),
    (storage.InvalidResponse(Reply(404), "a"), NotFound),
    (core.Forbidden("a"), Denied),
    (auth.RefreshError("revoked"), Denied),
    (core.TooManyRequests("a"), Transient),
    (core.from_http_status(408, "a"), Transient),
    (core.Conflict("a"), Transient),
    (core.ServiceUnavailable("a"), Transient),
    (storage.InvalidResponse(Reply(503), "a"), Transient),
    (storage.InvalidResponse(Reply(410), "a"), Transient),
    (storage.DataCorruption(Reply(200), "a checksum"), Transient),
    (http.ChunkedEncodingError("cut"), Transient),
    (wire.ProtocolError("cut"), Transient),
]


@pytest.mark.parametrize(
    ("error", "kind"),
    STORING,
    ids=[f"{type(row[0]).__name__}-{row[1].__name__}" for row in STORING],
)
def test_whether_trying_again_helps_decides_what_storing_raises(
    error: Exception, kind: type[Exception]
) -> None:
    assert type(raised(StorageBucket(Raising(error), "b", "p").write, "n", b"")) is kind


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (core.ServiceUnavailable("try later"), "503 try later"),
        (http.ConnectTimeout("a"), "ConnectTimeout"),
    ],
)
def test_who_tried_in_vain_is_told_what_the_last_try_met_with(last: Exception, words: str) -> None:
    error = raised(StorageBucket(Raising(core.RetryError("timed out", last)), "b", "p").read, "n")

    assert str(error) == f"gs://b/p/n: {words}"


def test_a_source_that_breaks_while_it_is_stored_speaks_for_itself() -> None:
    def pieces() -> Iterator[bytes]:
        raise NotFound("chunk 7 does not exist")
        yield b""

    error = raised(StorageBucket(Raising(ValueError()), "b", "p").write_stream, "n", pieces())

    assert str(error) == "chunk 7 does not exist"


TABLE = Table("acme", "reviews", "t")
JOB = BigQueryJob("j", TABLE)


def tables(error: Exception) -> BigQueryWarehouse:
    """A warehouse that knows where its dataset lies, and nothing else."""
    warehouse = BigQueryWarehouse(Raising(error))
    warehouse._locations["acme", "reviews"] = "EU"
    return warehouse


@pytest.mark.parametrize("error", BIGQUERY)
def test_every_error_of_bigquery_is_classified(error: Exception) -> None:
    calls: list[tuple[str, Any]] = [
        ("check_job_access", [TABLE]),
        ("get_columns", [TABLE]),
        ("create_table", [TABLE, [Column("key", "STRING")]]),
        ("test_permissions", [TABLE, ["p"]]),
        ("get_job_state", [JOB]),
        ("start_load", [JOB, ["gs://b/n"]]),
        ("start_extract", [JOB, "gs://b/*"]),
        ("start_merge", [JOB, TABLE, ["key"]]),
        ("delete_table", [TABLE]),
        ("stream_rows", [TABLE]),
        ("stream_rows", ["SELECT 1"]),
    ]
    for name, arguments in calls:
        if name in {"get_columns", "get_job_state"} and getattr(error, "code", 0) == 404:
            continue  # there is no such table or job, which is an answer
        if name == "start_extract" and getattr(error, "code", 0) == 409:
            continue  # the job is there already
        assert isinstance(raised(getattr(tables(error), name), *arguments), Transient | Permanent)
    assert isinstance(
        raised(BigQueryWarehouse(Raising(error)).get_job_state, JOB), Transient | Permanent
    )


TABLES: list[tuple[Exception, type[Exception]]] = [
    (core.NotFound("a"), NotFound),
    (core.Conflict("a"), Conflict),
    (core.Forbidden("a", errors=[{"reason": "accessDenied"}]), Denied),
    (core.Forbidden("a", errors=[{"reason": "quotaExceeded"}]), Transient),
    (core.Forbidden("a", errors=[{"reason": "rateLimitExceeded"}]), Transient),
    (core.BadRequest("a", errors=[{"reason": "invalidQuery"}]), Permanent),
    (core.ServiceUnavailable("a"), Transient),
    (auth.RefreshError("revoked"), Denied),
    (http.ReadTimeout("a"), Transient),
]


@pytest.mark.parametrize(
    ("error", "kind"),
    TABLES,
    ids=[f"{type(row[0]).__name__}-{row[1].__name__}-{n}" for n, row in enumerate(TABLES)],
)
def test_whether_trying_again_helps_decides_what_bigquery_raises(
    error: Exception, kind: type[Exception]
) -> None:
    assert type(raised(tables(error).delete_table, TABLE)) is kind


def test_a_job_whose_id_was_used_is_fine() -> None:
    warehouse = BigQueryWarehouse(_Taken())
    warehouse.start_load(JOB, ["gs://b/n"])
    warehouse.start_merge(JOB, TABLE, ["key"])


class _Taken:
    """A client that has every job already."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: Any, **asked: Any) -> Any:
        if "job_id" in asked:
            raise core.Conflict("Already Exists: Job")
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())
