"""Without any one of the safeguards the simulation finds something wrong: each is needed, and each is looked at."""

import pytest

from faults.simulation import simulate
from faults.simulation.mutations import SAFEGUARDS, Mutation, without

pytestmark = pytest.mark.slow

FIRST = 1000
MOST = 150


@pytest.mark.parametrize("mutation", SAFEGUARDS, ids=lambda mutation: mutation.safeguard.replace(" ", "-"))
def test_the_simulation_notices_that_a_safeguard_is_gone(mutation: Mutation) -> None:
    with without(mutation):
        assert any(simulate(seed).wrong for seed in range(FIRST, FIRST + MOST))


def test_the_same_seeds_find_nothing_wrong_with_all_safeguards() -> None:
    wrong = [found for seed in range(FIRST, FIRST + 50) if (found := simulate(seed)).wrong]

    assert not wrong, "\n".join(map(str, wrong))
