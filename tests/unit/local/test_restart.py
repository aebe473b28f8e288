"""When a dead service is started again."""

from hypothesis import given
from hypothesis import strategies as st

from promptmill.local.restart import Abandon, Restart, RestartPolicy


def test_the_pauses_grow_threefold_up_to_ten_seconds_and_the_fifth_death_in_a_minute_is_the_last() -> (
    None
):
    deaths = [0.0, 2.0, 5.0, 11.0, 23.0]

    decisions = [
        RestartPolicy().decide_restart(deaths[:count], was_ready=True) for count in range(1, 6)
    ]

    assert decisions == [Restart(0.5), Restart(1.5), Restart(4.5), Restart(10.0), Abandon(5)]


def test_deaths_of_more_than_a_minute_ago_are_forgiven() -> None:
    assert RestartPolicy().decide_restart([0.0, 1.0, 2.0, 3.0, 63.0], was_ready=True) == Restart(
        0.5
    )
    assert RestartPolicy().decide_restart([0.0, 1.0, 2.0, 10.0, 63.0], was_ready=True) == Restart(
        1.5
    )


def test_a_service_that_was_never_ready_has_three_chances_however_slowly_it_dies() -> None:
    deaths = [0.0, 100.0, 200.0]

    decisions = [
        RestartPolicy().decide_restart(deaths[:count], was_ready=False) for count in range(1, 4)
    ]

    assert decisions == [Restart(0.5), Restart(0.5), Abandon(3)]


@given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted))
def test_whatever_the_deaths_a_pause_is_never_longer_than_the_longest(deaths: list[float]) -> None:
    match RestartPolicy().decide_restart(deaths, was_ready=True):
        case Restart(after):
            assert 0.5 <= after <= 10.0
        case Abandon(count):
            assert 5 <= count <= len(deaths)
