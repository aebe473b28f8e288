"""What Cloud Storage promises beyond our own port, through Google's client and by plain HTTP."""

import base64
import http.client
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import google_crc32c
import pytest
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Bucket, Client
from google.cloud.storage.exceptions import InvalidResponse

from promptmill.local.services import BUCKET
from support.waiting import PATIENCE

QUANTUM = 256 * 1024
NAMES = ["a b+c", "ü/\u2028", "100%41", "?x=1#y", "x:y@z", "'\"\\", "😀", "o", "a/o/b"]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """A server, with Google's client, and a folder of the bucket for the names of one test."""

    url: str
    bucket: Bucket
    folder: str = field(default_factory=lambda: uuid.uuid4().hex)

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Make one call; `a_header` is sent as `a-header`."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path.removeprefix(self.url), body, sent)
            reply = connection.getresponse()
            return Reply(
                reply.status,
                {name.lower(): value for name, value in reply.getheaders()},
                reply.read(),
            )
        finally:
            connection.close()

    def object(self, name: str) -> str:
        return f"/storage/v1/b/{BUCKET}/o/{quote(f'{self.folder}/{name}', safe='')}"

    def upload(self, kind: str, name: str, **query: Any) -> str:
        more = "".join(f"&{key}={value}" for key, value in query.items())
        return f"/upload/storage/v1/b/{BUCKET}/o?uploadType={kind}&name={quote(f'{self.folder}/{name}', safe='')}{more}"

    def begin(self, name: str, **query: Any) -> str:
        """Begin a resumable upload; the path at which it goes on."""
        return self.call("POST", self.upload("resumable", name, **query), b"{}").headers["location"]

    def put(self, session: str, content_range: str, body: bytes = b"", **headers: str) -> Reply:
        return self.call("PUT", session, body, content_range=f"bytes {content_range}", **headers)

    def blob(self, name: str) -> Any:
        return self.bucket.blob(f"{self.folder}/{name}")

    def generation(self, name: str) -> int:
        return int(self.call("GET", self.object(name)).json["generation"])

    def resumable(self, name: str, data: bytes, **precondition: int) -> None:
        """Upload in pieces, through the client."""
        with self.blob(name).open("wb", chunk_size=QUANTUM, **precondition) as out:
            out.write(data)


@pytest.fixture(params=["own", "reference"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    url = request.getfixturevalue("storage_url" if request.param == "own" else "reference_url")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
        client = Client(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    yield Server(url, client.bucket(BUCKET))
    client.close()


def only_own(reason: str) -> pytest.MarkDecorator:
    """Leave a case out for fake-gcs-server, which is known to be wrong there."""
    return pytest.mark.parametrize(
        "server",
        ["own", pytest.param("reference", marks=pytest.mark.skip(reason=reason))],
        indirect=True,
    )


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def multipart(metadata: dict[str, Any], data: bytes) -> bytes:
    head = b"--B\r\nContent-Type: application/json\r\n\r\n" + json.dumps(metadata).encode()
    return head + b"\r\n--B\r\nContent-Type: text/plain\r\n\r\n" + data + b"\r\n--B--\r\n"


@pytest.mark.parametrize("name", NAMES)
def test_an_object_may_have_any_name(server: Server, name: str) -> None:
    server.blob(name).upload_from_string(name)

    listed = server.bucket.list_blobs(prefix=f"{server.folder}/{name}")
    assert server.blob(name).download_as_bytes() == name.encode()
    assert [blob.name for blob in listed] == [f"{server.folder}/{name}"]


@only_own("a name is a path there")
@pytest.mark.parametrize("name", ["..", "../../x", "a//b", "/", "."])
def test_a_name_is_no_path(server: Server, name: str) -> None:
    test_an_object_may_have_any_name(server, name)


@only_own("a name is a path there")
def test_an_object_may_be_named_as_the_folder_of_another(server: Server) -> None:
    for name in ("x", "x/y", "x/", "x/y/z"):
        server.blob(name).upload_from_string(name)

    assert [server.blob(name).download_as_bytes() for name in ("x", "x/", "x/y")] == [
        b"x",
        b"x/",
        b"x/y",
    ]
    server.blob("x").delete()
    assert server.blob("x/y").exists()


@only_own("it heeds no precondition of a resumable upload")
def test_a_resumable_upload_keeps_its_precondition(server: Server) -> None:
    server.resumable("a", b"1" * QUANTUM, if_generation_match=0)
    generation = server.generation("a")

    with pytest.raises((PreconditionFailed, InvalidResponse), match=r"412|pre-condition"):
        server.resumable("a", b"2", if_generation_match=0)
    server.resumable("a", b"3", if_generation_match=generation)
    assert server.blob("a").download_as_bytes() == b"3"


@only_own("it heeds no precondition of a resumable upload")
def test_of_resumable_uploads_that_all_create_the_first_to_end_wins(server: Server) -> None:
    sessions = [server.begin("a", ifGenerationMatch=0) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        replies = list(
            pool.map(lambda place: server.put(sessions[place], "0-0/1", b"%d" % place), range(4))
        )

    won = [place for place, reply in enumerate(replies) if reply.status == 200]
    assert sorted(reply.status for reply in replies) == [200, 412, 412, 412]
    assert server.blob("a").download_as_bytes() == b"%d" % won[0]


@only_own("it heeds the precondition of a multipart upload only")
@pytest.mark.parametrize("kind", ["media", "multipart"])
def test_a_small_upload_keeps_its_precondition(server: Server, kind: str) -> None:
    headers = {"content_type": "multipart/related; boundary=B"} if kind == "multipart" else {}
    body = multipart({}, b"new") if kind == "multipart" else b"new"

    replies = [
        server.call("POST", server.upload(kind, "a", ifGenerationMatch=0), body, **headers)
        for _ in range(2)
    ]

    assert [reply.status for reply in replies] == [200, 412]


@only_own("it heeds no precondition of a deletion, and knows no condition of a read")
def test_reads_and_deletions_keep_their_preconditions(server: Server) -> None:
    server.blob("a").upload_from_string("1")
    generation = server.generation("a")

    for wrong in (0, generation + 1):
        for call in ("download_as_bytes", "delete", "reload"):
            with pytest.raises(PreconditionFailed):
                getattr(server.blob("a"), call)(if_generation_match=wrong)
    assert server.blob("a").download_as_bytes(if_generation_match=generation) == b"1"
    assert (
        server.call("GET", f"{server.object('a')}?ifGenerationNotMatch={generation}").status == 304
    )
    server.blob("a").delete(if_generation_match=generation)
    assert not server.blob("a").exists()


def test_a_generation_that_is_gone_is_not_found(server: Server) -> None:
    server.blob("a").upload_from_string("1")
    first = server.generation("a")
    server.blob("a").upload_from_string("2")

    assert server.generation("a") > first
    with pytest.raises(NotFound):
        server.bucket.blob(f"{server.folder}/a", generation=first).download_as_bytes()


@only_own("it takes a wrong checksum")
@pytest.mark.parametrize(
    "declared", [{"crc32c": crc32c(b"other")}, {"md5Hash": "AAAAAAAAAAAAAAAAAAAAAA=="}]
)
def test_an_upload_whose_checksum_does_not_fit_is_refused(
    server: Server, declared: dict[str, str]
) -> None:
    body, boundary = multipart(declared, b"data"), "multipart/related; boundary=B"
    (kind, digest), *_ = declared.items()
    word = {"crc32c": "crc32c", "md5Hash": "md5"}[kind]

    assert (
        server.call("POST", server.upload("multipart", "a"), body, content_type=boundary).status
        == 400
    )
    hashed = {"x_goog_hash": f"{word}={digest}"}
    assert server.call("POST", server.upload("media", "a"), b"data", **hashed).status == 400
    assert server.put(server.begin("a"), "0-3/4", b"data", **hashed).status == 400
    assert not server.blob("a").exists()


@only_own("it takes a wrong checksum")
def test_the_clients_own_checksum_is_checked(server: Server) -> None:
    blob = server.blob("a")
    blob.crc32c = crc32c(b"other")

    with pytest.raises(BadRequest, match="doesn't match calculated CRC32C"):
        blob.upload_from_string("data", checksum=None)


def test_an_object_tells_its_checksums(server: Server) -> None:
    server.resumable("a", b"data" * QUANTUM)

    resource = server.call("GET", server.object("a")).json
    media = server.call("GET", f"/download{server.object('a')}?alt=media")
    assert resource["crc32c"] == crc32c(b"data" * QUANTUM)
    assert f"crc32c={resource['crc32c']}" in media.headers["x-goog-hash"]
    assert server.blob("a").download_as_bytes(checksum="md5") == b"data" * QUANTUM


@pytest.mark.parametrize(
    ("asked", "status", "data", "told"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
    ],
)
def test_a_range_is_answered_with_its_place(
    server: Server, asked: str, status: int, data: bytes, told: str
) -> None:
    server.blob("a").upload_from_string("0123456789")

    reply = server.call("GET", f"{server.object('a')}?alt=media", range=asked)

    assert (reply.status, reply.body, reply.headers["content-range"]) == (status, data, told)


@only_own("it does not tell the size")
def test_a_range_past_the_end_is_refused(server: Server) -> None:
    server.blob("a").upload_from_string("0123456789")

    reply = server.call("GET", f"{server.object('a')}?alt=media", range="bytes=10-12")

    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */10")


@only_own("it ends an upload when it is asked how far it is")
def test_an_upload_of_unknown_size_ends_with_the_piece_that_tells_it(server: Server) -> None:
    session = server.begin("a")

    assert server.put(session, "*/*").status == 308
    first = server.put(session, f"0-{QUANTUM - 1}/*", b"1" * QUANTUM)
    assert (first.status, first.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    assert not server.blob("a").exists()
    assert server.put(session, f"{QUANTUM}-{QUANTUM + 2}/{QUANTUM + 3}", b"222").status == 200
    assert server.blob("a").download_as_bytes() == b"1" * QUANTUM + b"222"


@only_own("it ends an upload when it is asked how far it is")
def test_an_upload_can_end_without_another_byte(server: Server) -> None:
    session = server.begin("a")
    server.put(session, f"0-{QUANTUM - 1}/*", b"1" * QUANTUM)

    assert server.put(session, f"*/{QUANTUM}").status == 200
    assert server.put(server.begin("empty"), "*/0").status == 200
    assert server.blob("a").download_as_bytes() == b"1" * QUANTUM
    assert server.blob("empty").download_as_bytes() == b""


@only_own("it appends whatever comes")
def test_a_piece_that_comes_again_is_taken_once_and_one_that_is_missing_is_noticed(
    server: Server,
) -> None:
    session = server.begin("a")
    server.put(session, f"0-{QUANTUM - 1}/*", b"1" * QUANTUM)

    again = server.put(session, f"0-{2 * QUANTUM - 1}/*", b"1" * QUANTUM + b"2" * QUANTUM)
    assert again.headers["range"] == f"bytes=0-{2 * QUANTUM - 1}"
    gap = server.put(session, f"{3 * QUANTUM}-{3 * QUANTUM}/*", b"4")
    assert gap.status == 503
    assert "exceeds already uploaded size" in gap.json["error"]["message"]
    uneven = server.put(session, f"{2 * QUANTUM}-{3 * QUANTUM + 1}/*", b"3" * (QUANTUM + 2))
    assert uneven.headers["range"] == f"bytes=0-{3 * QUANTUM - 1}"
    assert server.put(session, f"*/{3 * QUANTUM}").status == 200
    assert server.blob("a").download_as_bytes() == b"1" * QUANTUM + b"2" * QUANTUM + b"3" * QUANTUM


@only_own("it forgets an upload that has ended")
def test_the_end_of_an_upload_is_told_as_often_as_it_is_asked_for(server: Server) -> None:
    session = server.begin("a", ifGenerationMatch=0)

    replies = [
        server.put(session, "0-3/4", b"data"),
        server.put(session, "0-3/4", b"data"),
        server.put(session, "*/*"),
    ]

    assert [reply.status for reply in replies] == [200, 200, 200]
    assert len({reply.json["generation"] for reply in replies}) == 1


@only_own("it knows no cancelling")
def test_nothing_is_left_of_an_upload_that_is_cancelled(server: Server) -> None:
    session = server.begin("a")
    server.put(session, f"0-{QUANTUM - 1}/*", b"1" * QUANTUM)

    assert server.call("DELETE", session).status == 499
    assert server.put(session, f"*/{QUANTUM}").status == 410
    assert not server.blob("a").exists()


@only_own("a name is a path there")
def test_a_listing_folds_what_is_below_a_delimiter_over_any_number_of_pages(server: Server) -> None:
    names = ["a/1", "a/2", "b", "c/1", "c/d/2", "e"]
    for name in names:
        server.blob(name).upload_from_string("")
    for size in (1, 2, 3, 10):
        pages = list(
            server.bucket.list_blobs(
                prefix=f"{server.folder}/", delimiter="/", page_size=size
            ).pages
        )

        assert [blob.name.rpartition("/")[2] for page in pages for blob in page] == ["b", "e"]
        assert [prefix[33:] for page in pages for prefix in sorted(page.prefixes)] == ["a/", "c/"]
        assert all(len(page.prefixes) + page.num_items <= size for page in pages)


def test_a_listing_can_begin_and_end_within(server: Server) -> None:
    for name in ("a", "b", "c", "d"):
        server.blob(name).upload_from_string("")

    listed = server.bucket.list_blobs(
        start_offset=f"{server.folder}/b", end_offset=f"{server.folder}/d"
    )

    assert [blob.name[33:] for blob in listed] == ["b", "c"]


@only_own("it has one metadata of these, and no 501")
def test_what_a_writer_says_of_an_object_is_kept_and_what_nobody_knows_is_refused(
    server: Server,
) -> None:
    blob = server.blob("a")
    blob.metadata, blob.cache_control, blob.content_disposition = (
        {"x": "ü"},
        "no-store",
        'attachment; filename="ü—.txt"',
    )
    blob.upload_from_string("data", content_type="text/csv")
    resource = server.call("GET", server.object("a")).json

    assert (resource["metadata"], resource["cacheControl"], resource["contentType"]) == (
        {"x": "ü"},
        "no-store",
        "text/csv",
    )
    media = server.call("GET", f"{server.object('a')}?alt=media")
    assert (media.headers["content-type"], media.headers["cache-control"]) == (
        "text/csv",
        "no-store",
    )
    for method, path in (("PATCH", server.object("a")), ("POST", f"{server.object('a')}/compose")):
        assert server.call(method, path, b"{}").status == 501
    assert (
        server.call("GET", f"/storage/v1/b/{BUCKET}/o?versions=true").json["error"]["errors"][0][
            "domain"
        ]
        == "global"
    )


def test_errors_have_googles_shape(server: Server) -> None:
    missing = server.call("GET", server.object("nothing"))

    assert missing.status == missing.json["error"]["code"] == 404
    assert server.call("GET", "/storage/v1/b/nowhere").status == 404


def test_buckets_are_created_listed_and_removed(server: Server) -> None:
    client, name = server.bucket.client, uuid.uuid4().hex
    bucket = client.create_bucket(name)

    assert name in {one.name for one in client.list_buckets()}
    assert (
        server.call("POST", "/storage/v1/b?project=p", json.dumps({"name": name}).encode()).status
        == 409
    )
    bucket.delete()
    assert not bucket.exists()


def test_an_object_can_be_read_by_the_paths_of_the_xml_api(server: Server) -> None:
    """As DuckDB does, and through it BigQuery's stand-in."""
    server.blob("a b.jsonl").upload_from_string(b"0123456789")
    path = f"/{BUCKET}/{server.folder}/a%20b.jsonl"

    head = server.call("HEAD", path)
    assert (head.status, head.headers["content-length"], head.body) == (200, "10", b"")
    assert server.call("GET", path).body == b"0123456789"
    part = server.call("GET", path, range="bytes=2-4")
    assert (part.status, part.body) == (206, b"234")
    assert server.call("GET", path.replace("jsonl", "none")).status == 404
