"""The stack of one machine with real processes: started in order, kept running, and gone without a trace."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from promptmill.local import (
    AlreadyRunning,
    Event,
    Service,
    Stack,
    StackOptions,
    read_state,
    stop_running,
)
from promptmill.local.readiness import HttpResponds, LogMatches
from support.supervised import foreign_supervisor, marking, pids, script
from support.waiting import PATIENCE, wait_until

ANY_PORT = {"redis": 0, "storage": 0}


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with marking(monkeypatch, tmp_path) as value:
        yield value


@pytest.fixture
def options(tmp_path: Path) -> StackOptions:
    return StackOptions(directory=tmp_path, services=("redis", "storage"), ports=ANY_PORT)


def test_services_start_in_order_stop_in_reverse_and_leave_nothing_behind(
    options: StackOptions, mark: str
) -> None:
    events: list[Event] = []

    with Stack(options, events.append) as stack:
        client = broker(stack)
        assert client.ping()
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()
        assert HttpResponds(port(stack, "storage"), "/storage/v1/b/promptmill-local")("")
        assert (
            stack.client_environment()["STORAGE_EMULATOR_HOST"]
            == f"http://127.0.0.1:{port(stack, 'storage')}"
        )

    assert [(event.service, event.kind) for event in events] == [
        ("redis", "starting"),
        ("redis", "ready"),
        ("storage", "starting"),
        ("storage", "ready"),
        ("storage", "stopping"),
        ("storage", "stopped"),
        ("redis", "stopping"),
        ("redis", "stopped"),
    ]
    assert pids(mark) == set()


def test_others_find_a_running_stack_by_its_directory(
    options: StackOptions, tmp_path: Path
) -> None:
    with Stack(options) as stack:
        state = read_state(tmp_path)
        assert state is not None
        assert state.pid == os.getpid()
        assert state.environment == stack.client_environment()
        assert list(state.services) == ["redis", "storage"]
        assert psutil.Process(state.services["redis"].pid).name() in {
            "valkey-server",
            "redis-server",
        }

    assert read_state(tmp_path) is None


def test_data_is_kept_for_the_next_stack_unless_a_fresh_one_is_wanted(
    options: StackOptions,
) -> None:
    with Stack(options) as stack, contextlib.closing(broker(stack)) as client:
        client.set("kept", "yes")

    with Stack(options) as stack, contextlib.closing(broker(stack)) as client:
        assert client.get("kept") == b"yes"

    fresh = StackOptions(options.directory, options.services, ports=ANY_PORT, fresh=True)
    with Stack(fresh) as stack, contextlib.closing(broker(stack)) as client:
        assert client.get("kept") is None


def test_a_killed_server_is_started_again_at_the_same_place(options: StackOptions) -> None:
    events: list[Event] = []
    with Stack(options, events.append) as stack:
        before = stack.status()["redis"]
        assert before.pid
        os.kill(before.pid, signal.SIGKILL)
        wait_until(
            lambda: (
                stack.status()["redis"].restarts == 1 and stack.status()["redis"].state == "ready"
            )
        )

        after = stack.status()["redis"]
        assert after.pid != before.pid
        assert after.port == before.port
        with contextlib.closing(broker(stack)) as client:
            assert client.ping()
    told = [event.kind for event in events if event.service == "redis"]
    assert told[2:6] == ["died", "restarting", "starting", "ready"]


def test_a_taken_port_is_moved_and_said_so(options: StackOptions) -> None:
    events: list[Event] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        wish = StackOptions(options.directory, ("redis",), ports={"redis": wanted})
        with Stack(wish, events.append) as stack:
            assert port(stack, "redis") != wanted

    assert events[0].kind == "moved"
    assert str(wanted) in events[0].message


def test_a_second_stack_in_one_directory_is_refused_and_the_first_goes_on(
    options: StackOptions,
) -> None:
    with Stack(options) as stack:
        with pytest.raises(AlreadyRunning, match=str(os.getpid())), Stack(options):
            pass
        with contextlib.closing(broker(stack)) as client:
            assert client.ping()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_supervisor_that_is_told_to_end_stops_everything(
    tmp_path: Path, mark: str, number: signal.Signals
) -> None:
    with up(tmp_path) as supervisor:
        assert len(pids(mark)) == 5  # supervisor, and two guards with a server each
        supervisor.send_signal(number)

        assert supervisor.wait(PATIENCE) == 0
        assert pids(mark) == set()
        assert read_state(tmp_path) is None


def test_a_supervisor_under_nohup_survives_its_terminal(tmp_path: Path) -> None:
    with up(tmp_path, hangup="signal.SIG_IGN") as supervisor:
        supervisor.send_signal(signal.SIGHUP)
        supervisor.send_signal(
            signal.SIGCONT
        )  # taken after the first one, so that this is not about who is faster

        assert read_state(tmp_path) is not None
        assert stop_running(tmp_path)
        assert supervisor.wait(PATIENCE) == 0


def test_a_killed_supervisor_leaves_nothing_and_the_next_one_starts(
    tmp_path: Path, mark: str
) -> None:
    with up(tmp_path) as supervisor:
        old = pids(mark)
        supervisor.kill()
        supervisor.wait(PATIENCE)

        assert read_state(tmp_path) is None
        with up(tmp_path) as next_one:
            wait_until(lambda: old.isdisjoint(pids(mark)))
            stop_running(tmp_path)
            assert next_one.wait(PATIENCE) == 0


def test_a_running_stack_is_stopped_from_another_process(tmp_path: Path, mark: str) -> None:
    with up(tmp_path) as supervisor:
        assert stop_running(tmp_path)

        assert supervisor.wait(PATIENCE) == 0
        assert pids(mark) == set()
    assert not stop_running(tmp_path)


def test_a_stack_file_whose_pid_went_to_another_process_harms_nobody(
    tmp_path: Path, mark: str
) -> None:
    with up(tmp_path) as supervisor:
        written = (tmp_path / "stack.json").read_bytes()
        supervisor.kill()
        supervisor.wait(PATIENCE)
        wait_until(lambda: pids(mark) == set())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (tmp_path / "stack.json").write_bytes(
            written.replace(str(supervisor.pid).encode(), str(bystander.pid).encode())
        )

        assert not stop_running(tmp_path)
        assert bystander.poll() is None
        bystander.communicate(b"\n")


def test_a_celery_worker_and_its_pool_are_gone_with_a_killed_supervisor(
    options: StackOptions, mark: str
) -> None:
    (options.directory / "celery_app.py").write_text(
        "import celery\napp = celery.Celery(broker_connection_retry=True)\n"
    )
    with up(options.directory):
        state = read_state(options.directory)
        assert state is not None
        command = [
            sys.executable,
            "-m",
            "celery",
            "--app",
            "celery_app",
            "worker",
            "--concurrency",
            "2",
        ]
        environment = dict(os.environ) | state.environment | {"PYTHONPATH": str(options.directory)}
        worker = Service(
            "worker", (*command, "--loglevel", "INFO"), LogMatches(r"@\S+ ready\."), environment
        )
        other = options.directory / "other"
        before = pids(mark)
        with foreign_supervisor(other, worker) as supervisor:
            assert len(pids(mark) - before) == 5  # supervisor, guard, worker and its pool of two
            supervisor.kill()
            supervisor.wait(PATIENCE)

            wait_until(lambda: pids(mark) == before)


@contextlib.contextmanager
def up(directory: Path, hangup: str = "signal.SIG_DFL") -> Iterator[subprocess.Popen[str]]:
    """The supervisor of Redis and storage in a process of its own, ready."""
    code = f"""
        from pathlib import Path
        import signal
        from promptmill.local import StackOptions, run_supervisor
        signal.signal(signal.SIGHUP, {hangup})
        options = StackOptions(Path({str(directory)!r}), ("redis", "storage"), ports={{"redis": 0, "storage": 0}})
        run_supervisor(options, on_ready=lambda stack: print("up", flush=True))
    """
    with script(code) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        yield process


def port(stack: Stack, name: str) -> int:
    return stack.status()[name].port or 0


def broker(stack: Stack) -> "redis.Redis":
    return redis.Redis.from_url(stack.client_environment()["CELERY_BROKER_URL"])
