"""Services under a supervisor: in order, started again, and gone with everything that they forked."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from promptmill.local import (
    Event,
    Service,
    ServiceFailed,
)
from promptmill.local.readiness import LogMatches
from promptmill.local.restart import RestartPolicy
from promptmill.local.state import lock_directory
from support.supervised import (
    foreign_supervisor,
    marked,
    marking,
    pids,
    plain,
    stubborn,
    supervised,
)
from support.waiting import PATIENCE, wait_until


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with marking(monkeypatch, tmp_path) as value:
        yield value


def test_services_that_need_each_other_wait_and_the_others_start_and_stop_at_once(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    first = plain("first", "print('ready', flush=True); input_forever()")
    twins = [replace(first, name=name, depends_on=("first",)) for name in ("left", "right")]

    with supervised(tmp_path, first, events.append, *twins):
        pass

    told = [(event.service, event.kind) for event in events]
    assert told[:4] == [
        ("first", "starting"),
        ("first", "ready"),
        ("left", "starting"),
        ("right", "starting"),
    ]
    assert told[6:8] == [("right", "stopping"), ("left", "stopping")]
    assert told[10:] == [("first", "stopping"), ("first", "stopped")]


def test_a_second_request_to_stop_kills_what_is_slow_to_end(tmp_path: Path) -> None:
    slow = replace(stubborn(), grace_period=2 * PATIENCE)
    begin = time.monotonic()
    with supervised(tmp_path, slow) as supervisor:
        supervisor.request_stop()
        supervisor.request_stop()

    assert time.monotonic() - begin < PATIENCE


def test_a_listener_that_raises_is_heard_of_and_everything_is_stopped(
    tmp_path: Path, mark: str
) -> None:
    def broken_pipe(event: Event) -> None:
        raise BrokenPipeError("nobody reads any more")

    with pytest.raises(BrokenPipeError), supervised(tmp_path, stubborn(), broken_pipe):
        pass

    assert pids(mark) == set()


def test_a_directory_is_free_only_when_nothing_of_a_killed_stack_is_left(
    tmp_path: Path, mark: str
) -> None:
    with foreign_supervisor(tmp_path, stubborn()) as supervisor:
        supervisor.kill()
        supervisor.wait(PATIENCE)

        with lock_directory(tmp_path):
            assert pids(mark) == set()


def test_everything_that_a_service_forked_goes_with_a_killed_supervisor(
    tmp_path: Path, mark: str
) -> None:
    with foreign_supervisor(tmp_path, stubborn()) as supervisor:
        wait_until(
            lambda: len(pids(mark)) == 6
        )  # supervisor, guard, service, child, and two in sessions of their own
        supervisor.kill()
        supervisor.wait(PATIENCE)

        wait_until(lambda: pids(mark) == set())


def test_everything_that_a_service_forked_goes_with_a_killed_service_which_starts_again(
    tmp_path: Path, mark: str
) -> None:
    with supervised(tmp_path, stubborn()) as supervisor:
        wait_until(lambda: len(pids(mark)) == 5)
        old = pids(mark)
        pid = supervisor.status()["stubborn"].pid
        assert pid
        os.kill(pid, signal.SIGKILL)

        wait_until(lambda: supervisor.status()["stubborn"].restarts == 1 and len(pids(mark)) == 5)
        assert old.isdisjoint(pids(mark))


def test_a_killed_guard_takes_its_service_along_and_both_start_again(
    tmp_path: Path, mark: str
) -> None:
    with supervised(
        tmp_path, plain("sleeper", "print('ready', flush=True); input_forever()")
    ) as supervisor:
        wait_until(lambda: len(pids(mark)) == 2)
        old = pids(mark)
        next(
            process for process in marked(mark) if "guard.py" in " ".join(process.cmdline())
        ).kill()

        wait_until(lambda: supervisor.status()["sleeper"].restarts == 1)
        wait_until(lambda: supervisor.status()["sleeper"].state == "ready" and len(pids(mark)) == 2)
        assert old.isdisjoint(pids(mark))


def test_a_guard_that_is_killed_together_with_its_supervisor_takes_its_service_along(
    tmp_path: Path, mark: str
) -> None:
    with foreign_supervisor(
        tmp_path, plain("sleeper", "print('ready', flush=True); input_forever()")
    ) as supervisor:
        guard = next(
            process for process in marked(mark) if "guard.py" in " ".join(process.cmdline())
        )
        supervisor.kill()
        guard.kill()
        supervisor.wait(PATIENCE)

        wait_until(lambda: pids(mark) == set())


def test_a_service_inherits_nothing_that_could_outlive_its_stack(tmp_path: Path) -> None:
    with supervised(
        tmp_path, plain("sleeper", "print('ready', flush=True); input_forever()")
    ) as supervisor:
        assert psutil.Process(supervisor.status()["sleeper"].pid).num_fds() == 3


def test_a_service_that_will_not_end_is_killed_after_its_grace(tmp_path: Path, mark: str) -> None:
    begin = time.monotonic()
    with supervised(tmp_path, stubborn()):
        wait_until(lambda: len(pids(mark)) == 5)

    assert pids(mark) == set()
    assert time.monotonic() - begin < PATIENCE


def test_a_service_that_keeps_dying_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    events: list[Event] = []
    broken = plain(
        "broken",
        "print('no such bucket'); sys.exit(3)",
        restart_policy=RestartPolicy(first_delay=0.01),
    )

    with (
        pytest.raises(ServiceFailed, match="no such bucket"),
        supervised(tmp_path, broken, events.append),
    ):
        pass

    assert [event.kind for event in events].count("died") == 2
    failed = next(event for event in events if event.kind == "failed")
    assert failed.message == "exited with code 3, 3 times in all; not restarted"
    assert failed.log == "no such bucket"


def test_a_command_that_does_not_exist_is_reported_by_name(tmp_path: Path) -> None:
    missing = Service(
        "missing",
        ("/no/such/program",),
        LogMatches("ready"),
        restart_policy=RestartPolicy(max_deaths=1),
    )

    with (
        pytest.raises(ServiceFailed, match="/no/such/program: No such file"),
        supervised(tmp_path, missing),
    ):
        pass


def test_a_service_that_is_never_ready_is_started_anew(tmp_path: Path) -> None:
    events: list[Event] = []
    slow = plain(
        "slow",
        "input_forever()",
        start_timeout=0.3,
        restart_policy=RestartPolicy(first_delay=0.01, max_deaths=2),
    )

    with pytest.raises(ServiceFailed), supervised(tmp_path, slow, events.append):
        pass

    assert "was not ready after 0.3 s" in next(
        event.message for event in events if event.kind == "died"
    )


def test_a_start_that_takes_too_long_can_be_interrupted(tmp_path: Path, mark: str) -> None:
    never = plain("never", "input_forever()")
    with foreign_supervisor(tmp_path, never, wait=False) as supervisor:
        wait_until(lambda: len(pids(mark)) == 3)
        supervisor.send_signal(signal.SIGINT)
        supervisor.wait(PATIENCE)

        wait_until(lambda: pids(mark) == set())
