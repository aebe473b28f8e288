"""Removing any one safeguard makes a test fail: each is needed and tested."""

from pathlib import Path

import pytest

from faults.simulation import simulate
from faults.simulation.mutations import SAFEGUARDS, Mutation, without

pytestmark = pytest.mark.slow

SEEDS = 150
"""Seeds of ``test_simulation.py``, which pass with all safeguards."""
TESTS = Path(__file__).parents[1]


def names(mutation: Mutation) -> str:
    return mutation.safeguard.replace(" ", "-")


@pytest.mark.parametrize("mutation", [one for one in SAFEGUARDS if not one.test], ids=names)
def test_the_simulation_notices_that_a_safeguard_is_gone(mutation: Mutation) -> None:
    with without(mutation):
        assert any(simulate(seed).wrong for seed in range(SEEDS))


@pytest.mark.parametrize("mutation", [one for one in SAFEGUARDS if one.test], ids=names)
def test_a_test_notices_that_a_safeguard_is_gone(mutation: Mutation) -> None:
    test = ["--quiet", "-p", "no:cacheprovider", f"{TESTS}/{mutation.test}"]
    assert pytest.main(test) == pytest.ExitCode.OK
    with without(mutation):
        assert pytest.main(test) == pytest.ExitCode.TESTS_FAILED
