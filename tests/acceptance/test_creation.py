"""Whatever happens to the call that creates a job: exactly one job for each shard is on the bill."""

from collections.abc import Iterator
from typing import Any

import pytest

from promptmill.producers import Promptmill, Run
from support.local_stack import LocalStack, done, keys, once, surroundings

LOST = {"on": "create", "fault": "after"}
REFUSED = {"on": "create", "fault": "status"}
TROUBLES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "its answer is lost": ("gemini-3.7-flash", [LOST]),
    "its answer is lost and the job is listed late": (
        "gemini-3.6-flash",
        [LOST, {"on": "list", "fault": "stale-list", "seconds": 2}],
    ),
    "it is answered with 503 after its effect": ("gemini-3.5-flash", [LOST | {"status": 503}]),
    "it is refused with 429": ("gemini-3.5-flash-lite", [REFUSED | {"status": 429}] * 2),
    "it is refused with 500": ("gemini-3.1-pro-preview", [REFUSED | {"status": 500}]),
    "it is refused with 503 and then its answer is lost": (
        "gemini-4-argon",
        [REFUSED | {"status": 503}, LOST],
    ),
}


@pytest.fixture(scope="module")
def runs(stack: LocalStack) -> Iterator[dict[str, Run]]:
    """A run for each trouble, each with a model of its own by which the trouble finds it.

    They are sent together, as nearly all that they do is wait.
    """
    with surroundings(stack.environment):
        mill = Promptmill()
        for model, rules in TROUBLES.values():
            for rule in rules:
                stack.fault(**rule, match={"model": f"*/{model}"})
        yield {
            trouble: mill.submit((f"prompt {number}" for number in range(10)), model=model)
            for trouble, (model, _) in TROUBLES.items()
        }


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_creation_makes_exactly_one_job_when(
    stack: LocalStack, runs: dict[str, Run], trouble: str
) -> None:
    with surroundings(stack.environment):
        status = done(runs[trouble])
        results = list(runs[trouble].results())

    assert status.state == "succeeded"
    assert len(stack.jobs(status.run)) == 1
    assert keys(results) == once(range(1, 11))


def test_every_trouble_came_to_pass(stack: LocalStack, runs: dict[str, Run]) -> None:
    assert stack.faults() == []
