"""A client for buckets reaches them as its environment says."""

import pytest

from promptmill.config.errors import NotFound
from promptmill.workers.adapters.storage import open_bucket
from proxy import HttpProxy


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
