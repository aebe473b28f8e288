"""The fault-injecting proxy that other tests use."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from support.http_server import HttpAnswer, HttpCall, serve_http
from support.proxy import HOST, HttpProxy
from support.waiting import PATIENCE

BODY = b"0123456789" * 100


@dataclass
class Upstream:
    """A server that notes its calls and answers with addresses of itself."""

    port: int = 0
    url: str = ""
    seen: list[str] = field(default_factory=list)

    def answer_call(self, call: HttpCall) -> HttpAnswer:
        """Answer a GET with a text, and a POST with JSON that repeats the body."""
        self.seen.append(f"{call.method} {call.path}")
        posted = json.dumps({"got": call.body.decode(), "next": f"{self.url}/next"}).encode()
        body, kind = (posted, "application/json") if call.method == "POST" else (BODY, "text/plain")
        return HttpAnswer(body, headers=(("Content-Type", kind), ("Location", f"{self.url}/there")))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    with serve_http(upstream.answer_call) as server:
        upstream.port, upstream.url = server.server_port, server.url
        yield upstream


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[HttpProxy]:
    with HttpProxy(upstream.url) as proxy:
        yield proxy


def call(
    proxy: HttpProxy, method: str = "GET", path: str = "/a?b=c", body: bytes | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=PATIENCE)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_call_without_a_rule_goes_through_unchanged_and_is_recorded(
    proxy: HttpProxy, upstream: Upstream
) -> None:
    assert call(proxy) == (200, BODY)

    assert upstream.seen == ["GET /a?b=c"]
    assert [(c.method, c.path, c.fault, c.status) for c in proxy.calls] == [
        ("GET", "/a?b=c", None, 200)
    ]


def test_a_body_is_handed_on_and_addresses_in_the_answer_lead_back_through_the_proxy(
    proxy: HttpProxy,
) -> None:
    _, body = call(proxy, "POST", "/x", b"hello")

    assert json.loads(body) == {"got": "hello", "next": f"{proxy.url}/next"}
    assert proxy.calls[0].body == b"hello"


def test_a_chunked_body_is_handed_on_whole(proxy: HttpProxy) -> None:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=PATIENCE)
    connection.request(
        "POST",
        "/x",
        iter([b"hel", b"lo"]),
        encode_chunked=True,
        headers={"Transfer-Encoding": "chunked"},
    )
    answer = json.loads(connection.getresponse().read())
    connection.close()

    assert answer["got"] == "hello"


def test_one_connection_carries_several_calls(proxy: HttpProxy) -> None:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=PATIENCE)
    connection.request("GET", "/1")
    connection.getresponse().read()
    opened = connection.sock
    connection.request("GET", "/2")
    connection.getresponse().read()

    assert connection.sock is opened
    connection.close()


def test_a_failed_call_never_reaches_the_upstream_and_fails_only_so_often(
    proxy: HttpProxy, upstream: Upstream
) -> None:
    proxy.fail("GET", "/a.*", status=429, times=2)

    assert [call(proxy)[0] for _ in range(3)] == [429, 429, 200]
    assert upstream.seen == ["GET /a?b=c"]
    assert [c.fault for c in proxy.calls] == ["fail", "fail", None]


def test_a_refused_call_breaks_the_connection_before_the_upstream_hears_of_it(
    proxy: HttpProxy, upstream: Upstream
) -> None:
    proxy.refuse("GET", ".*")

    with pytest.raises(ConnectionError):
        call(proxy)
    assert upstream.seen == []


def test_a_dropped_answer_has_its_effect_but_the_caller_does_not_learn_of_it(
    proxy: HttpProxy, upstream: Upstream
) -> None:
    proxy.drop_answer("POST", "/jobs")

    with pytest.raises(ConnectionError):
        call(proxy, "POST", "/jobs", b"{}")
    assert upstream.seen == ["POST /jobs"]
    assert proxy.calls[0].status is None


def test_a_replaced_answer_has_its_effect_but_the_caller_is_told_otherwise(
    proxy: HttpProxy, upstream: Upstream
) -> None:
    proxy.replace_answer("POST", "/jobs", status=503)

    assert call(proxy, "POST", "/jobs", b"{}")[0] == 503
    assert upstream.seen == ["POST /jobs"]


def test_a_cut_body_is_shorter_than_promised(proxy: HttpProxy) -> None:
    proxy.cut("GET", ".*", after=10)

    with pytest.raises(http.client.IncompleteRead) as caught:
        call(proxy)
    assert caught.value.partial == BODY[:10]


def test_a_delayed_call_is_answered_later(proxy: HttpProxy) -> None:
    proxy.delay("GET", ".*", seconds=0.2)
    begin = time.monotonic()

    assert call(proxy) == (200, BODY)
    assert time.monotonic() - begin >= 0.2


def test_a_rule_leaves_other_methods_and_paths_alone(proxy: HttpProxy) -> None:
    proxy.fail("POST", "/a", times=float("inf"))

    assert call(proxy, "GET", "/a")[0] == 200
    assert call(proxy, "POST", "/ab", b"")[0] == 200
    assert call(proxy, "POST", "/a", b"")[0] == 503
    proxy.clear()
    assert call(proxy, "POST", "/a", b"")[0] == 200
    assert [c.status for c in proxy.seen("POST", "/a")] == [503, 200]


def test_an_upstream_that_is_not_there_answers_502() -> None:
    with socket.create_server((HOST, 0)) as server:
        gone = server.getsockname()[1]

    with HttpProxy(f"http://{HOST}:{gone}") as proxy:
        assert call(proxy)[0] == 502
