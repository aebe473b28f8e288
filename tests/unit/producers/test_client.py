"""`Promptmill.submit` takes only prompts, and `Promptmill.find` names the next step."""

from typing import Any, cast

import pytest

from promptmill.config.errors import ConfigurationError, EmptyRun, RunNotFound
from promptmill.producers import Promptmill
from promptmill.producers.contract.run_index import RunIndex
from support.recording_mill import open_mill


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("hello", "not one str: write ['hello']"),
        (b"hello", "not one bytes"),
        (bytearray(b"hello"), "not one bytearray"),
        ({"prompt": "hello"}, "not one dict"),
        (5, "not int"),
        (None, "not NoneType"),
    ],
)
def test_one_prompt_is_not_taken_apart(prompts: Any, message: str) -> None:
    mill = Promptmill(broker_url="redis://127.0.0.1:1/0", model="gemini-fake")

    with pytest.raises(ConfigurationError) as refused:
        mill.submit(prompts)

    assert str(refused.value).startswith("prompts must be an iterable of prompts")
    assert message in str(refused.value)


class EmptyIndex:
    """An index without runs."""

    def list_runs(self, limit: int) -> list[str]:
        return []


def test_a_name_without_a_run_leads_to_the_list_of_runs() -> None:
    mill = Promptmill(broker_url="redis://127.0.0.1:1/0")
    mill.index = cast("RunIndex", EmptyIndex())

    with pytest.raises(RunNotFound, match=r"^no run has the name 'n'; list runs with promptmill "):
        mill.find(name="n")


def test_a_run_without_a_sendable_prompt_names_the_first_problem() -> None:
    mill, index, sender = open_mill()

    with pytest.raises(EmptyRun, match=r"^no prompt can be sent: row 1: the prompt is empty\. "):
        mill.submit(["", ""])

    assert (index.opened, sender.sent) == ([], [])
