"""The stack of one machine with real processes: started in order, kept running, and gone without a trace."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis

from promptmill.local import (
    AlreadyRunning,
    Event,
    Options,
    Service,
    ServiceFailed,
    Stack,
    read_state,
    stop_running,
)
from promptmill.local.readiness import Logged, call
from promptmill.local.restart import Patience
from promptmill.local.state import ServiceState, hold
from promptmill.local.supervisor import Supervisor

ANY_PORT = {"redis": 0, "storage": 0}
MARK = "PROMPTMILL_TEST_MARK"


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A sign in the environment of all that a test starts, however deep; when the test ends nothing may bear it.

    It is the test's own directory, for Redis writes its title over its environment, but is found by where it runs.
    """
    value = str(tmp_path)
    monkeypatch.setenv(MARK, value)
    yield value
    left = marked(value)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert left == []


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(directory=tmp_path, services=("redis", "storage"), ports=ANY_PORT)


def test_services_start_in_order_stop_in_reverse_and_leave_nothing_behind(options: Options, mark: str) -> None:
    events: list[Event] = []

    with Stack(options, events.append) as stack:
        client = broker(stack)
        assert client.ping()
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()
        assert call(port(stack, "storage"), "GET", "/storage/v1/b/promptmill-local") == 200
        assert stack.environment()["STORAGE_EMULATOR_HOST"] == f"http://127.0.0.1:{port(stack, 'storage')}"

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


def test_services_that_need_each_other_wait_and_the_others_start_and_stop_at_once(tmp_path: Path) -> None:
    events: list[Event] = []
    first = plain("first", "print('ready', flush=True); input_forever()")
    twins = [replace(first, name=name, after=("first",)) for name in ("left", "right")]

    with supervised(tmp_path, first, events.append, *twins):
        pass

    told = [(event.service, event.kind) for event in events]
    assert told[:4] == [("first", "starting"), ("first", "ready"), ("left", "starting"), ("right", "starting")]
    assert told[6:8] == [("right", "stopping"), ("left", "stopping")]
    assert told[10:] == [("first", "stopping"), ("first", "stopped")]


def test_a_second_request_to_stop_kills_what_is_slow_to_end(tmp_path: Path) -> None:
    slow = replace(stubborn(), grace=60.0)
    begin = time.monotonic()
    with supervised(tmp_path, slow) as supervisor:
        supervisor.ask_to_stop()
        supervisor.ask_to_stop()

    assert time.monotonic() - begin < 20


def test_others_find_a_running_stack_by_its_directory(options: Options, tmp_path: Path) -> None:
    with Stack(options) as stack:
        state = read_state(tmp_path)
        assert state is not None
        assert state.pid == os.getpid()
        assert state.environment == stack.environment()
        assert list(state.services) == ["redis", "storage"]
        assert psutil.Process(state.services["redis"].pid).name() in {"valkey-server", "redis-server"}

    assert read_state(tmp_path) is None


def test_data_is_kept_for_the_next_stack_unless_a_fresh_one_is_wanted(options: Options) -> None:
    with Stack(options) as stack, contextlib.closing(broker(stack)) as client:
        client.set("kept", "yes")

    with Stack(options) as stack, contextlib.closing(broker(stack)) as client:
        assert client.get("kept") == b"yes"

    fresh = Options(options.directory, options.services, ports=ANY_PORT, fresh=True)
    with Stack(fresh) as stack, contextlib.closing(broker(stack)) as client:
        assert client.get("kept") is None


def test_a_killed_server_is_started_again_at_the_same_place(options: Options) -> None:
    events: list[Event] = []
    with Stack(options, events.append) as stack:
        before = stack.status()["redis"]
        assert before.pid
        os.kill(before.pid, signal.SIGKILL)
        wait_for(lambda: stack.status()["redis"].restarts == 1 and stack.status()["redis"].state == "ready")

        after = stack.status()["redis"]
        assert after.pid != before.pid
        assert after.port == before.port
        with contextlib.closing(broker(stack)) as client:
            assert client.ping()
    told = [event.kind for event in events if event.service == "redis"]
    assert told[2:6] == ["died", "restarting", "starting", "ready"]


def test_a_taken_port_is_moved_and_said_so(options: Options) -> None:
    events: list[Event] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        wish = Options(options.directory, ("redis",), ports={"redis": wanted})
        with Stack(wish, events.append) as stack:
            assert port(stack, "redis") != wanted

    assert events[0].kind == "moved"
    assert str(wanted) in events[0].message


def test_a_second_stack_in_one_directory_is_refused_and_the_first_goes_on(options: Options) -> None:
    with Stack(options) as stack:
        with pytest.raises(AlreadyRunning, match=str(os.getpid())), Stack(options):
            pass
        with contextlib.closing(broker(stack)) as client:
            assert client.ping()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_supervisor_that_is_told_to_end_stops_everything(tmp_path: Path, mark: str, number: signal.Signals) -> None:
    with up(tmp_path) as supervisor:
        assert len(pids(mark)) == 5  # supervisor, and two guards with a server each
        supervisor.send_signal(number)

        assert supervisor.wait(20) == 0
        assert pids(mark) == set()
        assert read_state(tmp_path) is None


def test_a_supervisor_under_nohup_survives_its_terminal(tmp_path: Path) -> None:
    with up(tmp_path, hangup="signal.SIG_IGN") as supervisor:
        supervisor.send_signal(signal.SIGHUP)
        supervisor.send_signal(signal.SIGCONT)  # taken after the first one, so that this is not about who is faster

        assert read_state(tmp_path) is not None
        assert stop_running(tmp_path)
        assert supervisor.wait(20) == 0


def test_a_listener_that_raises_is_heard_of_and_everything_is_stopped(tmp_path: Path, mark: str) -> None:
    def broken_pipe(event: Event) -> None:
        raise BrokenPipeError("nobody reads any more")

    with pytest.raises(BrokenPipeError), supervised(tmp_path, stubborn(), broken_pipe):
        pass

    assert pids(mark) == set()


def test_a_killed_supervisor_leaves_nothing_and_the_next_one_starts(tmp_path: Path, mark: str) -> None:
    with up(tmp_path) as supervisor:
        old = pids(mark)
        supervisor.kill()
        supervisor.wait(20)

        assert read_state(tmp_path) is None
        with up(tmp_path) as next_one:
            wait_for(lambda: old.isdisjoint(pids(mark)))
            stop_running(tmp_path)
            assert next_one.wait(20) == 0


def test_a_directory_is_free_only_when_nothing_of_a_killed_stack_is_left(tmp_path: Path, mark: str) -> None:
    with foreign_supervisor(tmp_path, stubborn()) as supervisor:
        supervisor.kill()
        supervisor.wait(20)

        with hold(tmp_path):
            assert pids(mark) == set()


def test_a_running_stack_is_stopped_from_another_process(tmp_path: Path, mark: str) -> None:
    with up(tmp_path) as supervisor:
        assert stop_running(tmp_path)

        assert supervisor.wait(20) == 0
        assert pids(mark) == set()
    assert not stop_running(tmp_path)


def test_a_stack_file_whose_pid_went_to_another_process_harms_nobody(tmp_path: Path, mark: str) -> None:
    with up(tmp_path) as supervisor:
        written = (tmp_path / "stack.json").read_bytes()
        supervisor.kill()
        supervisor.wait(20)
        wait_for(lambda: pids(mark) == set())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (tmp_path / "stack.json").write_bytes(
            written.replace(str(supervisor.pid).encode(), str(bystander.pid).encode())
        )

        assert not stop_running(tmp_path)
        assert bystander.poll() is None
        bystander.communicate(b"\n")


def test_everything_that_a_service_forked_goes_with_a_killed_supervisor(tmp_path: Path, mark: str) -> None:
    with foreign_supervisor(tmp_path, stubborn()) as supervisor:
        wait_for(lambda: len(pids(mark)) == 6)  # supervisor, guard, service, child, and two in sessions of their own
        supervisor.kill()
        supervisor.wait(20)

        wait_for(lambda: pids(mark) == set())


def test_everything_that_a_service_forked_goes_with_a_killed_service_which_starts_again(
    tmp_path: Path, mark: str
) -> None:
    with supervised(tmp_path, stubborn()) as supervisor:
        wait_for(lambda: len(pids(mark)) == 5)
        old = pids(mark)
        pid = supervisor.status()["stubborn"].pid
        assert pid
        os.kill(pid, signal.SIGKILL)

        wait_for(lambda: supervisor.status()["stubborn"].restarts == 1 and len(pids(mark)) == 5)
        assert old.isdisjoint(pids(mark))


def test_a_killed_guard_takes_its_service_along_and_both_start_again(tmp_path: Path, mark: str) -> None:
    with supervised(tmp_path, plain("sleeper", "print('ready', flush=True); input_forever()")) as supervisor:
        wait_for(lambda: len(pids(mark)) == 2)
        old = pids(mark)
        next(process for process in marked(mark) if "guard.py" in " ".join(process.cmdline())).kill()

        wait_for(lambda: supervisor.status()["sleeper"].restarts == 1)
        wait_for(lambda: supervisor.status()["sleeper"].state == "ready" and len(pids(mark)) == 2)
        assert old.isdisjoint(pids(mark))


def test_a_guard_that_is_killed_together_with_its_supervisor_takes_its_service_along(tmp_path: Path, mark: str) -> None:
    with foreign_supervisor(tmp_path, plain("sleeper", "print('ready', flush=True); input_forever()")) as supervisor:
        guard = next(process for process in marked(mark) if "guard.py" in " ".join(process.cmdline()))
        supervisor.kill()
        guard.kill()
        supervisor.wait(20)

        wait_for(lambda: pids(mark) == set())


def test_a_celery_worker_and_its_pool_are_gone_with_a_killed_supervisor(options: Options, mark: str) -> None:
    (options.directory / "celery_app.py").write_text(
        "import celery\napp = celery.Celery(broker_connection_retry=True)\n"
    )
    with up(options.directory):
        state = read_state(options.directory)
        assert state is not None
        command = [sys.executable, "-m", "celery", "--app", "celery_app", "worker", "--concurrency", "2"]
        environment = dict(os.environ) | state.environment | {"PYTHONPATH": str(options.directory)}
        worker = Service("worker", (*command, "--loglevel", "INFO"), Logged(r"@\S+ ready\."), environment)
        other = options.directory / "other"
        before = pids(mark)
        with foreign_supervisor(other, worker) as supervisor:
            assert len(pids(mark) - before) == 5  # supervisor, guard, worker and its pool of two
            supervisor.kill()
            supervisor.wait(20)

            wait_for(lambda: pids(mark) == before)


def test_a_service_that_will_not_end_is_killed_after_its_grace(tmp_path: Path, mark: str) -> None:
    begin = time.monotonic()
    with supervised(tmp_path, stubborn()):
        wait_for(lambda: len(pids(mark)) == 5)

    assert pids(mark) == set()
    assert time.monotonic() - begin < 10


def test_a_service_that_keeps_dying_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    events: list[Event] = []
    broken = plain("broken", "print('no such bucket'); sys.exit(3)", patience=Patience(first=0.01))

    with pytest.raises(ServiceFailed, match="no such bucket"), supervised(tmp_path, broken, events.append):
        pass

    assert [event.kind for event in events].count("died") == 2
    gave_up = next(event for event in events if event.kind == "gave_up")
    assert gave_up.message == "ended with exit code 3, 3 times by now, and stays down"
    assert gave_up.log == "no such bucket"


def test_a_command_that_does_not_exist_is_reported_by_name(tmp_path: Path) -> None:
    missing = Service("missing", ("/no/such/program",), Logged("ready"), patience=Patience(most_deaths=1))

    with pytest.raises(ServiceFailed, match="/no/such/program: No such file"), supervised(tmp_path, missing):
        pass


def test_a_service_that_is_never_ready_is_started_anew(tmp_path: Path) -> None:
    events: list[Event] = []
    slow = plain("slow", "input_forever()", slowest_start=0.3, patience=Patience(first=0.01, most_deaths=2))

    with pytest.raises(ServiceFailed), supervised(tmp_path, slow, events.append):
        pass

    assert "was not ready after 0.3 s" in next(event.message for event in events if event.kind == "died")


def test_a_start_that_takes_too_long_can_be_interrupted(tmp_path: Path, mark: str) -> None:
    never = plain("never", "input_forever()")
    with foreign_supervisor(tmp_path, never, wait=False) as supervisor:
        wait_for(lambda: len(pids(mark)) == 3)
        supervisor.send_signal(signal.SIGINT)
        supervisor.wait(20)

        wait_for(lambda: pids(mark) == set())


# A child that ignores SIGTERM, and two grandchildren in sessions of their own, one of them orphaned.
STUBBORN = """
    import os, signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for orphan in (False, True):
        if os.fork() == 0:
            if orphan:
                os.setsid()
            if os.fork() == 0:
                os.setsid()
                input_forever()
            if orphan:
                os._exit(0)
            input_forever()
    print("ready", flush=True)
    input_forever()
"""
PRELUDE = "import signal, sys\ndef input_forever():\n    while True:\n        signal.pause()\n"


def plain(name: str, code: str, *, slowest_start: float = 30.0, patience: Patience = Patience()) -> Service:  # noqa: B008
    command = (sys.executable, "-c", PRELUDE + textwrap.dedent(code))
    environment = dict(os.environ)
    ready = Logged("^ready")
    return Service(name, command, ready, environment, slowest_start=slowest_start, grace=0.5, patience=patience)


def stubborn() -> Service:
    return plain("stubborn", STUBBORN)


@contextlib.contextmanager
def supervised(
    directory: Path, service: Service, on_event: Callable[[Event], None] = lambda _: None, *more: Service
) -> Iterator[Supervisor]:
    def ignore(services: dict[str, ServiceState]) -> None:
        pass

    with hold(directory) as held:
        supervisor = Supervisor([service, *more], directory / "logs", held, on_event, ignore)
        try:
            supervisor.start()
            yield supervisor
        finally:
            supervisor.stop()


@contextlib.contextmanager
def up(directory: Path, hangup: str = "signal.SIG_DFL") -> Iterator[subprocess.Popen[str]]:
    """The supervisor of Redis and storage in a process of its own, ready."""
    code = f"""
        from pathlib import Path
        import signal
        from promptmill.local import Options, run_supervisor
        signal.signal(signal.SIGHUP, {hangup})
        options = Options(Path({str(directory)!r}), ("redis", "storage"), ports={{"redis": 0, "storage": 0}})
        run_supervisor(options, on_ready=lambda stack: print("up", flush=True))
    """
    with script(code) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        yield process


@contextlib.contextmanager
def foreign_supervisor(directory: Path, service: Service, *, wait: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A supervisor of one service in a process of its own."""
    code = f"""
        from pathlib import Path
        from promptmill.local.readiness import Logged
        from promptmill.local.service import Service
        from promptmill.local.state import hold
        from promptmill.local.supervisor import Supervisor
        service = Service({service.name!r}, {service.command!r}, {service.ready!r}, {dict(service.environment)!r})
        with hold(Path({str(directory)!r})) as held:
            supervisor = Supervisor([service], Path({str(directory)!r}), held, lambda _: None, lambda _: None)
            try:
                supervisor.start()
                print("up", flush=True)
                supervisor.wait()
            finally:
                supervisor.stop()
    """
    with script(code) as process:
        assert process.stdout
        assert not wait or process.stdout.readline() == "up\n"
        yield process


@contextlib.contextmanager
def script(code: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def marked(mark: str) -> list[psutil.Process]:
    """Every process with the mark in its environment, or that runs below that directory."""
    return [process for process in psutil.process_iter() if bears(process, mark)]


def pids(mark: str) -> set[int]:
    return {process.pid for process in marked(mark)}


def bears(process: psutil.Process, mark: str) -> bool:
    try:
        marked = process.environ().get(MARK) == mark or process.cwd().startswith(mark)
        return marked and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def port(stack: Stack, name: str) -> int:
    return stack.status()[name].port or 0


def broker(stack: Stack) -> "redis.Redis":
    return redis.Redis.from_url(stack.environment()["CELERY_BROKER_URL"])


def wait_for(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
