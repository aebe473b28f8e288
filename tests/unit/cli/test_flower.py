from pathlib import Path
from runpy import run_path

import pytest

from promptmill.cli.flower import find_flower_config, flower_arguments, require_flower_login
from promptmill.config.errors import ConfigurationError

OPTIONS_OF_FLOWER = {
    "tasks_columns",
    "natural_time",
    "max_tasks",
    "purge_offline_workers",
    "state_save_interval",
}


def test_flower_remembers_tasks_when_it_is_given_a_file() -> None:
    assert not any(
        "persistent" in argument for argument in flower_arguments(5555, "127.0.0.1", None)
    )
    arguments = flower_arguments(5555, "127.0.0.1", Path("flower.db"))
    assert {"--persistent=True", "--db=flower.db"} <= set(arguments)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.1.2.3", "", "flower.example"])  # noqa: S104
def test_flower_is_not_opened_to_everybody_without_a_login(address: str) -> None:
    with pytest.raises(ConfigurationError, match="FLOWER_BASIC_AUTH"):
        require_flower_login(
            address, {"FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler"}
        )


@pytest.mark.parametrize("variable", ["FLOWER_BASIC_AUTH", "FLOWER_AUTH"])
def test_flower_with_a_login_may_be_opened(variable: str) -> None:
    require_flower_login("0.0.0.0", {variable: "me:secret"})  # noqa: S104
    require_flower_login("0.0.0.0", {}, ["--basic_auth=me:secret"])  # noqa: S104


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_flower_on_this_machine_needs_no_login(address: str) -> None:
    require_flower_login(address, {})


def test_the_shipped_options_of_flower_give_way_to_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run_path(str(find_flower_config())).keys() >= OPTIONS_OF_FLOWER

    monkeypatch.setenv("FLOWER_MAX_TASKS", "5")

    assert "max_tasks" not in run_path(str(find_flower_config()))


def test_flower_knows_every_shipped_option() -> None:
    from flower.options import options

    assert set(options.as_dict()) >= OPTIONS_OF_FLOWER
