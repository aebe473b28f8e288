"""Servers for the fault tests; the workers are the tests' own."""

from collections.abc import Iterator

import pytest

from faults.mills import Mills
from faults.outlets import Outlets, outlets
from proxy import HttpProxy
from stack import SERVERS, Site, running, surroundings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` the tests of a file share a process, and its servers; mutations need none, and come last."""
    items.sort(key=_is_mutation)
    for item in items:
        if not _is_mutation(item):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _is_mutation(item: pytest.Item) -> bool:
    return item.path.stem == "test_mutations"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Redis, storage and the emulator, in whose environment the tests run."""
    with running(tmp_path_factory.mktemp("servers"), SERVERS, latency=0.3) as site, surroundings(_shared(site)):
        yield site


@pytest.fixture(scope="session")
def mills(servers: Site, tmp_path_factory: pytest.TempPathFactory) -> Mills:
    """Mills on these servers."""
    return Mills(servers, tmp_path_factory.mktemp("mills"))


@pytest.fixture
def storage(servers: Site) -> Iterator[HttpProxy]:
    """A proxy before storage, for workers."""
    with HttpProxy(servers.environment["STORAGE_EMULATOR_HOST"]) as proxy:
        yield proxy


def _shared(site: Site) -> dict[str, str]:
    """Celery's own variable wins over what a client is told, and every mill has a broker of its own."""
    return {name: value for name, value in site.environment.items() if name != "CELERY_BROKER_URL"}


@pytest.fixture(scope="session")
def out(servers: Site) -> Iterator[Outlets]:
    """Servers that take results, for sinks of every kind."""
    with outlets() as running_outlets:
        yield running_outlets
