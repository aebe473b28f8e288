"""Servers of the fault tests. Each test starts its own workers."""

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
"""The slowest files. They start first, so that no processor is idle at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first and mutations last."""

    def rank(item: pytest.Item) -> int:
        longest = LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)
        return longest + _is_mutation(item.nodeid)

    items.sort(key=rank)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadFileScheduling":
    """Run the tests of a file in one process with its servers; mutations need no servers."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if _is_mutation(nodeid) else super()._split_scope(nodeid)

    return Scheduling(config, log)


def _is_mutation(nodeid: str) -> bool:
    return "test_mutations.py" in nodeid


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Redis, storage and the emulator, with their environment set."""
    with (
        running(tmp_path_factory.mktemp("servers"), SERVERS, latency=0.3) as stack,
        surroundings(_shared(stack)),
    ):
        yield stack


@pytest.fixture(scope="session")
def turns(tmp_path_factory: pytest.TempPathFactory) -> Turns:
    """The limit on concurrent groups on this machine."""
    return Turns(tmp_path_factory.getbasetemp().parent)


@pytest.fixture(scope="session")
def groups(
    servers: LocalStack, turns: Turns, tmp_path_factory: pytest.TempPathFactory
) -> WorkerGroups:
    """Groups of workers on these servers."""
    return WorkerGroups(servers, tmp_path_factory.mktemp("groups"), turns)


@pytest.fixture
def storage(servers: LocalStack) -> Iterator[HttpProxy]:
    """A proxy before storage, used by the workers."""
    with HttpProxy(servers.environment["STORAGE_EMULATOR_HOST"]) as proxy:
        yield proxy


def _shared(stack: LocalStack) -> dict[str, str]:
    """Return the environment without the broker: every group has its own."""
    return {name: value for name, value in stack.environment.items() if name != "CELERY_BROKER_URL"}


@pytest.fixture(scope="session")
def out(servers: LocalStack) -> Iterator[Outlets]:
    """Servers that receive results, for sinks of every kind."""
    with outlets() as running_outlets:
        yield running_outlets
