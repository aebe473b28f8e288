"""A client for buckets reaches them as its environment says, and several objects at once."""

import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from promptmill.config.errors import NotFound
from promptmill.workers.adapters.storage import open_bucket
from support.http_server import HttpAnswer, HttpCall, serve_http
from support.proxy import HttpProxy
from support.waiting import PATIENCE


@pytest.mark.parametrize(("no_proxy", "is_direct"), [("", False), ("127.0.0.1", True)])
def test_calls_go_through_the_proxy_that_the_environment_names_unless_it_excepts_the_host(
    no_proxy: str, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpProxy("http://127.0.0.1:9") as storage, HttpProxy("http://127.0.0.1:9") as forward:
        storage.fail("GET", ".*/o/fact.*", status=404)
        forward.fail("GET", f"{storage.url}/.*/o/fact.*", status=404)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        for name, value in {"http_proxy": forward.url, "no_proxy": no_proxy}.items():
            monkeypatch.setenv(name, value)
            monkeypatch.delenv(name.upper(), raising=False)

        bucket = open_bucket("gs://some-bucket", "some-project")
        with pytest.raises(NotFound):
            bucket.read("fact")

    assert (len(storage.calls), len(forward.calls)) == ((1, 0) if is_direct else (0, 1))


FEW = 8


@pytest.fixture
def five_at_once() -> Iterator[str]:
    """The URL of a storage that holds back reads of objects above number 8 until five wait."""
    waiting = threading.Barrier(5)

    def answer_read(call: HttpCall) -> HttpAnswer:
        if int(urlsplit(call.path).path.rpartition("fact-")[2]) > FEW:
            waiting.wait(PATIENCE)
        return HttpAnswer(b"fact")

    with serve_http(answer_read) as server:
        yield server.url


def test_few_objects_are_read_one_after_another_and_many_five_at_once(
    five_at_once: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", five_at_once)
    bucket = open_bucket("gs://some-bucket", "some-project")

    assert list(bucket.read_each(f"fact-{number}" for number in range(1, FEW + 21))) == [
        b"fact"
    ] * (FEW + 20)
