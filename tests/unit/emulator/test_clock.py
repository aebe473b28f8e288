import time

from promptmill.emulator.clock import Clock, ClockState, format_timestamp
from support.waiting import PATIENCE


def test_a_fast_clock_runs_ahead_and_never_back() -> None:
    clock = Clock(speed=3600.0)
    start, real = clock.now(), time.monotonic()

    clock.wait_until(start + PATIENCE)
    reached = clock.now()
    clock.set_speed(0.001)

    assert reached >= start + PATIENCE
    assert time.monotonic() - real < PATIENCE
    assert reached <= clock.now() < reached + 3600


def test_a_clock_goes_on_over_a_restart_at_its_speed() -> None:
    left = ClockState(emulated=1000.0, wall=time.time() - 10, speed=60.0)

    emulated = Clock.from_state(left).now()

    assert 1600 <= emulated <= 1000 + 60 * (time.time() - left.wall)


def test_times_are_written_as_google_writes_them() -> None:
    assert format_timestamp(1_800_000_000.25) == "2027-01-15T08:00:00.250000Z"
