import pytest
import typer

from promptmill.cli import exit_codes
from promptmill.config.errors import PromptmillError, RunNotFound, WaitTimeout
from promptmill.producers.contract.status import END_STATES, OPEN_STATES


@pytest.mark.parametrize(
    ("state", "code"),
    [("succeeded", 0), ("partially_succeeded", 3), ("failed", 4), ("cancelled", 5), ("expired", 6)],
)
def test_the_exit_code_says_how_a_run_ended(state: str, code: int) -> None:
    assert exit_codes.code_for_state(state) == code


def test_every_end_has_an_exit_code_of_its_own() -> None:
    assert len({exit_codes.code_for_state(state) for state in END_STATES}) == len(END_STATES)


def test_a_run_that_goes_on_is_no_failure() -> None:
    assert {exit_codes.code_for_state(state) for state in OPEN_STATES} == {0}


def test_a_wait_that_timed_out_is_told_from_an_error() -> None:
    assert exit_codes.code_for_error(WaitTimeout("still running")) == 124
    assert (
        exit_codes.code_for_error(RunNotFound("no such run"))
        == exit_codes.code_for_error(PromptmillError("oops"))
        == 1
    )


def test_ctrl_c_says_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, exit_codes.exit_on_interrupt("the run goes on"):
        raise KeyboardInterrupt

    assert caught.value.exit_code == 130
    assert "the run goes on" in capsys.readouterr().err
