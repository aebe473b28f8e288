import time

from promptmill.emulator.clock import Clock, ClockState, format_timestamp


def test_a_fast_clock_runs_ahead_and_never_back() -> None:
    clock = Clock(speed=3600.0)
    start, real = clock.now(), time.monotonic()

    clock.wait_until(start + 36)
    reached = clock.now()
    clock.set_speed(0.001)

    assert reached >= start + 36
    assert time.monotonic() - real < 36
    assert reached <= clock.now() < reached + 3600


def test_a_clock_goes_on_over_a_restart_at_its_speed() -> None:
    left = ClockState(emulated=1000.0, wall=time.time() - 10, speed=60.0)

    assert 1600 <= Clock.from_state(left).now() < 2200


def test_times_are_written_as_google_writes_them() -> None:
    assert format_timestamp(1_800_000_000.25) == "2027-01-15T08:00:00.250000Z"
