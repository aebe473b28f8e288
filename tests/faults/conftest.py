"""Servers for the fault tests; the workers are the tests' own."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from faults.outlets import Outlets, outlets
from faults.turns import Turns
from faults.worker_group import WorkerGroups
from support.local_stack import SERVERS, LocalStack, running, surroundings
from support.proxy import HttpProxy

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling


LONGEST = ["test_crash_sweep.py", "test_storage.py", "test_pools.py", "test_processes.py"]
"""Files that take the longest, and are begun first, lest all processors but one have nothing to do in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what takes long come first, and mutations, which fit in anywhere, last."""

    def rank(item: pytest.Item) -> int:
        longest = LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)
        return longest + _is_mutation(item.nodeid)

    items.sort(key=rank)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadFileScheduling":
    """Have the tests of a file share a process, and so its servers, but for mutations, which need none."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if _is_mutation(nodeid) else super()._split_scope(nodeid)

    return Scheduling(config, log)


def _is_mutation(nodeid: str) -> bool:
    return "test_mutations.py" in nodeid


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Redis, storage and the emulator, in whose environment the tests run."""
    with (
        running(tmp_path_factory.mktemp("servers"), SERVERS, latency=0.3) as stack,
        surroundings(_shared(stack)),
    ):
        yield stack


@pytest.fixture(scope="session")
def turns(tmp_path_factory: pytest.TempPathFactory) -> Turns:
    """The turns at the processors of this machine."""
    return Turns(tmp_path_factory.getbasetemp().parent)


@pytest.fixture(scope="session")
def groups(
    servers: LocalStack, turns: Turns, tmp_path_factory: pytest.TempPathFactory
) -> WorkerGroups:
    """Groups of workers on these servers."""
    return WorkerGroups(servers, tmp_path_factory.mktemp("groups"), turns)


@pytest.fixture
def storage(servers: LocalStack) -> Iterator[HttpProxy]:
    """A proxy before storage, for workers."""
    with HttpProxy(servers.environment["STORAGE_EMULATOR_HOST"]) as proxy:
        yield proxy


def _shared(stack: LocalStack) -> dict[str, str]:
    """Celery's own variable wins over what a client is told, and every mill has a broker of its own."""
    return {name: value for name, value in stack.environment.items() if name != "CELERY_BROKER_URL"}


@pytest.fixture(scope="session")
def out(servers: LocalStack) -> Iterator[Outlets]:
    """Servers that take results, for sinks of every kind."""
    with outlets() as running_outlets:
        yield running_outlets
