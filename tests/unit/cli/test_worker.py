import pytest

from promptmill.cli.worker import parse_queues, worker_arguments
from promptmill.config import queues


def worker(names: str = "", *, concurrency: int | None = None, name: str = "") -> list[str]:
    return worker_arguments(parse_queues(names), concurrency, "prefork", name, "INFO", pid=77)


def following(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def test_a_worker_takes_from_all_queues_unless_told_otherwise() -> None:
    assert (
        following(worker(), "-Q")
        == "promptmill.ingest,promptmill.work,promptmill.jobs,promptmill.poll"
    )


def test_queues_may_be_named_with_or_without_their_prefix() -> None:
    assert parse_queues("poll, promptmill.work,poll") == [queues.POLL, queues.WORK]


def test_a_queue_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="unknown queue 'pool'; use ingest, work, jobs, poll"):
        parse_queues("work,pool")


def test_no_two_workers_on_a_machine_have_one_name() -> None:
    assert following(worker(), "-n") == "worker-77@%h"
    assert following(worker("poll"), "-n") == "poll-77@%h"
    assert following(worker(name="blue"), "-n") == "blue-77@%h"


def test_a_worker_that_only_polls_needs_one_slot() -> None:
    assert following(worker("poll"), "--concurrency") == "1"
    assert following(worker("poll", concurrency=3), "--concurrency") == "3"
    assert "--concurrency" not in worker()


def test_a_worker_tells_flower_what_it_does_and_nothing_to_other_workers() -> None:
    assert {"-E", "--without-mingle", "--without-gossip"} <= set(worker())
