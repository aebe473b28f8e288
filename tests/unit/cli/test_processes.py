from pathlib import Path
from runpy import run_path

import pytest

from promptmill.cli import processes
from promptmill.config import queues
from promptmill.config.errors import ConfigurationError

OPTIONS_OF_FLOWER = {
    "tasks_columns",
    "natural_time",
    "max_tasks",
    "purge_offline_workers",
    "state_save_interval",
}


def worker(names: str = "", *, concurrency: int | None = None, name: str = "") -> list[str]:
    return processes.worker_arguments(
        processes.parse_queues(names), concurrency, "prefork", name, "INFO", pid=77
    )


def following(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def test_a_worker_takes_from_all_queues_unless_told_otherwise() -> None:
    assert (
        following(worker(), "-Q")
        == "promptmill.ingest,promptmill.work,promptmill.jobs,promptmill.poll"
    )


def test_queues_may_be_named_with_or_without_their_prefix() -> None:
    assert processes.parse_queues("poll, promptmill.work,poll") == [queues.POLL, queues.WORK]


def test_a_queue_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(
        ValueError, match="no queue is called 'pool'; there are ingest, work, jobs, poll"
    ):
        processes.parse_queues("work,pool")


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


def test_beat_leaves_no_file_behind_unless_it_is_given_one() -> None:
    assert "-s" not in processes.beat_arguments(None, "INFO")
    assert following(processes.beat_arguments(Path("schedule"), "INFO"), "-s") == "schedule"


def test_flower_remembers_tasks_when_it_is_given_a_file() -> None:
    assert not any(
        "persistent" in argument for argument in processes.flower_arguments(5555, "127.0.0.1", None)
    )
    arguments = processes.flower_arguments(5555, "127.0.0.1", Path("flower.db"))
    assert {"--persistent=True", "--db=flower.db"} <= set(arguments)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.1.2.3", "", "flower.example"])  # noqa: S104
def test_flower_is_not_opened_to_everybody_without_a_login(address: str) -> None:
    with pytest.raises(ConfigurationError, match="FLOWER_BASIC_AUTH"):
        processes.require_flower_login(
            address, {"FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler"}
        )


@pytest.mark.parametrize("variable", ["FLOWER_BASIC_AUTH", "FLOWER_AUTH"])
def test_flower_with_a_login_may_be_opened(variable: str) -> None:
    processes.require_flower_login("0.0.0.0", {variable: "me:secret"})  # noqa: S104
    processes.require_flower_login("0.0.0.0", {}, ["--basic_auth=me:secret"])  # noqa: S104


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_flower_on_this_machine_needs_no_login(address: str) -> None:
    processes.require_flower_login(address, {})


def test_the_shipped_options_of_flower_give_way_to_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run_path(str(processes.find_flower_config())).keys() >= OPTIONS_OF_FLOWER

    monkeypatch.setenv("FLOWER_MAX_TASKS", "5")

    assert "max_tasks" not in run_path(str(processes.find_flower_config()))


def test_flower_knows_every_shipped_option() -> None:
    from flower.options import options

    assert set(options.as_dict()) >= OPTIONS_OF_FLOWER
