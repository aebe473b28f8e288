"""Whoever reaches the broker cannot run code, fill memory or write elsewhere.

That no prompt shows is in ``test_secrecy``, that no password does and Redis is not open to all in
``tests/integration/test_access``, that Flower is not in ``tests/unit/cli/test_app``, and that each wrong field of a
message is refused in ``tests/unit/producers``.
"""

import base64
import gzip
import hashlib
import json
import os
import pickle
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import redis
import zstandard
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from kombu.serialization import loads

from promptmill.config import queues
from promptmill.producers import Promptmill
from promptmill.producers.contract.messages import (
    VERSION,
    Chunk,
    Ingest,
    Manifest,
    SinkSpec,
    encode_message,
)
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.fakes import MemoryBucket
from support.local_stack import (
    QUICK,
    SERVERS,
    WORKERS,
    LocalStack,
    ask,
    done,
    running,
    surroundings,
)
from support.waiting import wait_until

MODEL = "publishers/google/models/gemini-3.8-flash"
BOMB = 1 << 30
MOST_GROWTH = 32 << 20
RUNNING = {"promptmill.ingest": "worker", "promptmill.work": "worker", "promptmill.poll": "poll"}

Publish = Callable[..., None]


@pytest.fixture
def publish(stack: LocalStack) -> Iterator[Publish]:
    """Puts a message into a queue as it is, as anybody who reaches the broker can."""
    with (
        Celery(broker=stack.environment["CELERY_BROKER_URL"], set_as_current=False) as app,
        app.producer_pool.acquire() as producer,
    ):

        def put(
            body: bytes, content_type: str, *, task: str, queue: str, task_id: str, **headers: str
        ) -> None:
            producer.publish(
                body,
                content_type=content_type,
                content_encoding="utf-8" if content_type == "application/json" else "binary",
                routing_key=queue,
                exchange="",
                headers={
                    "lang": "py",
                    "id": task_id,
                    "argsrepr": "()",
                    **({"task": task} if task else {}),
                    **headers,
                },
                delivery_mode=2,
            )

        yield put


@pytest.fixture
def send(stack: LocalStack) -> Iterator[Callable[..., None]]:
    """Sends a task with any arguments."""
    with Celery(broker=stack.environment["CELERY_BROKER_URL"], set_as_current=False) as app:

        def put(task: str, *args: Any) -> None:
            queue = queues.TASK_QUEUES[task]
            serializer = "msgpack" if any(isinstance(one, bytes) for one in args) else "json"
            app.send_task(task, args=args, queue=queue, serializer=serializer, argsrepr="()")

        yield put


class Trap:
    """What a decoder that can be tricked does when it meets this: it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("queue", sorted(RUNNING))
@pytest.mark.parametrize("kind", ["pickle", "yaml"])
def test_a_message_that_could_run_code_is_refused_unread_and_the_next_one_is_taken(
    stack: LocalStack, mill: Promptmill, publish: Publish, tmp_path: Path, queue: str, kind: str
) -> None:
    sprung, heard = tmp_path / "sprung", Heard(stack, RUNNING[queue])
    trap = {
        "pickle": (pickle.dumps(([Trap(sprung)], {}, {})), "application/x-python-serialize"),
        "yaml": (f"!!python/object/apply:os.mkdir ['{sprung}']".encode(), "application/x-yaml"),
    }[kind]
    workers = [process.pid for process in stack.processes("worker", "poll")]

    publish(*trap, task="promptmill.finish", queue=queue, task_id="trap.finish")

    heard.until(r"(?s)ContentDisallowed|[Rr]efusing to deserialize")
    assert done(mill.submit(["Say hello"])).state == "succeeded"
    assert [process.pid for process in stack.processes("worker", "poll")] == workers
    assert not sprung.exists()


MARK = "a-prompt-that-nobody-may-see"
JSON, MSGPACK = "application/json", "application/x-msgpack"
REFUSED: list[tuple[bytes, str, str]] = [
    (MARK.encode(), "text/plain", "promptmill.finish"),
    (f"{MARK} {{".encode(), JSON, "promptmill.finish"),
    (f'["{MARK}'.encode() + b"\xff", JSON, "promptmill.finish"),
    (msgspec.msgpack.encode(MARK) * 2, MSGPACK, "promptmill.finish"),
    (msgspec.json.encode([[MARK], {}, {}]), JSON, "promptmill.nothing"),
    (msgspec.json.encode({"prompt": MARK}), JSON, ""),
]
"""Of an unknown type, damaged, damaged within a character, with more behind it, of an unknown task, and of none."""


def test_nothing_of_a_message_that_is_refused_is_in_the_log(
    stack: LocalStack, mill: Promptmill, publish: Publish
) -> None:
    heard = Heard(stack, "worker")

    for body, kind, task in REFUSED:
        publish(body, kind, task=task, queue=queues.WORK, task_id="x", argsrepr=f"('{MARK}',)")
    heard.until(r"(?s)(message_refused.*){6}")

    assert MARK not in heard.text()
    assert MARK.encode().hex() not in heard.text()
    assert done(mill.submit(["Say hello"])).state == "succeeded"


def test_a_message_that_says_it_is_compressed_is_not_unpacked(
    stack: LocalStack, mill: Promptmill, publish: Publish
) -> None:
    heard = Heard(stack, "worker")
    body = gzip.compress(bytes(BOMB // 4), compresslevel=1)
    with growth(stack.processes("worker")) as grown:
        publish(
            body,
            "application/json",
            task="promptmill.finish",
            queue=queues.WORK,
            task_id="x",
            compression="gzip",
        )
        heard.until("compressed messages are refused")

    assert max(grown) < MOST_GROWTH
    assert done(mill.submit(["Say hello"])).state == "succeeded"


@pytest.mark.parametrize("told", [True, False], ids=["that tells its size", "that tells no size"])
def test_a_bomb_costs_no_memory(
    stack: LocalStack, mill: Promptmill, send: Callable[..., None], told: bool
) -> None:
    heard, packed = Heard(stack, "worker"), bomb(told)
    chunk = Chunk(0, 1, 1, min(200 * len(packed), 32 << 20), hashlib.sha256().digest(), packed)

    with growth(stack.processes("worker")) as grown:
        send(
            "promptmill.ingest",
            encode_message(Ingest(Manifest("bomb", MODEL, time.time()), encode_message(chunk))),
        )
        heard.until("MessageRefused.*chunk 0 ")

    assert max(grown) < MOST_GROWTH
    assert done(mill.submit(["Say hello"])).state == "succeeded"


WRONG: list[tuple[str, list[Any]]] = [
    ("promptmill.ingest", ["not bytes"]),
    ("promptmill.ingest", [encode_message(Ingest(Manifest("../../outside", MODEL, 1.0), b""))]),
    ("promptmill.ingest", [msgspec.msgpack.encode({"run": ["x"] * 9, "chunk": {}})]),
    ("promptmill.abort", ["../../outside", "because"]),
    ("promptmill.plan", [{"run": "x"}]),
    ("promptmill.shard", ["nobody", 0, "../../../../outside"]),
    ("promptmill.shard", ["nobody", -1, 1]),
    ("promptmill.collect", ["nobody", 0.5, 1]),
    ("promptmill.parse", ["nobody", 0, 1, "0/../../../../outside"]),
    ("promptmill.settle", ["nobody"]),
    ("promptmill.deliver", [None, None, None, None, None]),
    ("promptmill.finish", ["..", 1, 2, 3]),
    ("promptmill.nothing", []),
]


def test_tasks_with_wrong_arguments_end_without_a_trace_and_without_the_worker(
    stack: LocalStack, mill: Promptmill, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(queues.TASK_QUEUES, "promptmill.nothing", queues.WORK)
    before, workers = objects(stack), [process.pid for process in stack.processes("worker", "poll")]
    heard = Heard(stack, "worker")

    for task, arguments in WRONG:
        send(task, *arguments)
    for task in {task for task, _ in WRONG}:
        heard.until(rf"{re.escape(task)}\[.*raised|message_refused.*{re.escape(task)}")
    run = mill.submit(["Say hello"])

    assert done(run).state == "succeeded"
    assert [process.pid for process in stack.processes("worker", "poll")] == workers
    assert [name for name in objects(stack) - before if is_stray(name)] == []


def test_keys_that_look_like_paths_stay_words(stack: LocalStack, mill: Promptmill) -> None:
    before = objects(stack)
    keys = [
        "../../outside",
        "/etc/passwd",
        "..",
        "a/../b",
        "runs/x/report.json",
        "%2e%2e%2f",
        "C:\\x",
        "k\u202ej",
    ]

    run = mill.submit([{"key": key, "prompt": "Say hello"} for key in keys])

    assert done(run).state == "succeeded"
    assert sorted(result.key for result in run.results()) == sorted(keys)
    assert [name for name in objects(stack) - before if is_stray(name)] == []


@given(
    st.text(max_size=20) | st.integers() | st.none() | st.floats(),
    st.text(max_size=20) | st.integers() | st.none(),
)
def test_no_place_that_a_message_names_lies_outside_its_run(index: Any, attempt: Any) -> None:
    run = RunFolder(MemoryBucket(), "01jrun")
    with suppress(ValueError, TypeError):
        made = run.attempt(index, attempt).path
        assert re.fullmatch(r"runs/01jrun/shards/\d{4,}/\d+/", made)
    with suppress(ValueError, TypeError):
        made = run.attempt(0, 1).delivered(index, attempt).name
        assert re.fullmatch(r"runs/01jrun/shards/0000/1/delivered/\d{2,}-\d{5,}\.json", made)


@pytest.fixture(scope="module")
def fenced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack whose workers may write below one folder, `out`, and to the mill's own bucket."""
    directory = tmp_path_factory.mktemp("fenced")
    (directory / "out").mkdir()
    (directory / "out" / "link").symlink_to(directory)
    settings = QUICK | {"PROMPTMILL_SINKS": f"{directory}/out/"}
    with running(directory, (*SERVERS, *WORKERS), settings=settings) as stack:
        yield stack


FORGED = [
    SinkSpec("file", "{fenced}/outside/answers.jsonl"),
    SinkSpec("file", "{fenced}/out/../outside/answers.jsonl"),
    SinkSpec("file", "{fenced}/out/link/outside/answers.jsonl"),
    SinkSpec("file", "outside/answers.jsonl"),
    SinkSpec("jsonl", "{fenced}/outside"),
    SinkSpec("jsonl", "gs://outside/answers"),
    SinkSpec("jsonl", "gs://promptmill-local/mill/runs"),
    SinkSpec("jsonl", "gs://promptmill-local/mill/../outside"),
]


def test_a_run_whose_message_names_a_sink_that_is_not_allowed_fails_before_it_costs_anything(
    fenced: LocalStack,
) -> None:
    with surroundings(fenced.environment):
        mill = Promptmill()
        runs = [mill.submit(["Say hello"], sinks=[within(fenced, spec)]) for spec in FORGED]

        for run in runs:
            status = done(run)
            assert (status.state, run.report().jobs) == ("failed", 0)
            assert re.match(
                r"sink .*(PROMPTMILL_SINKS|must be a URL such as|Promptmill itself)", status.error
            )
    assert fenced.billed() == 0
    assert not any(path.match("*outside*") for path in fenced.directory.rglob("*"))


def test_a_run_whose_sinks_are_allowed_fills_them(fenced: LocalStack) -> None:
    sinks = [
        SinkSpec("file", "{fenced}/out/deep/answers.jsonl"),
        SinkSpec("jsonl", "gs://promptmill-local/mill/answers"),
    ]
    with surroundings(fenced.environment):
        run = Promptmill().submit(["Say hello"], sinks=[within(fenced, spec) for spec in sinks])

        assert done(run).state == "succeeded"
    assert len((fenced.directory / "out" / "deep" / "answers.jsonl").read_text().splitlines()) == 1


def within(stack: LocalStack, spec: SinkSpec) -> SinkSpec:
    """A sink of this stack."""
    return SinkSpec(spec.kind, spec.url.format(fenced=stack.directory))


def test_a_message_of_a_later_version_is_put_back_with_an_alarm(
    stack: LocalStack, send: Callable[..., None]
) -> None:
    heard = Heard(stack, "worker")
    body = msgspec.msgpack.encode({"v": VERSION + 1, "run": "of another shape"})
    with Celery(broker=stack.environment["CELERY_BROKER_URL"], set_as_current=False) as app:
        app.send_task(
            "promptmill.ingest",
            [body],
            task_id="later.c00000.ingest",
            queue=queues.INGEST,
            serializer="msgpack",
        )

        heard.until(r"warning.*step_needs_newer_worker.*step=later\.c00000\.ingest")
        with redis.Redis.from_url(stack.environment["CELERY_BROKER_URL"]) as client:
            waiting = wait_until(
                lambda: waits(client, "later.c00000.ingest"), "the message in the broker"
            )
        app.control.revoke("later.c00000.ingest")

    assert waiting == [body]
    assert not re.search(r"later\.c00000\.ingest\] raised", heard.text())


class Heard:
    """What a service logs from now on."""

    def __init__(self, stack: LocalStack, service: str) -> None:
        self._log = stack.directory / "logs" / f"{service}.log"
        self._from = len(self._log.read_text())

    def text(self) -> str:
        return self._log.read_text()[self._from :]

    def until(self, pattern: str) -> None:
        wait_until(lambda: re.search(pattern, self.text()), f"{pattern!r} in the log")


@contextmanager
def growth(processes: list[psutil.Process]) -> Iterator[list[int]]:
    """Yield a list that has, at the end, by how many bytes each process grew at its peak; Linux tells."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells the peak of a process's memory")
    for process in processes:
        Path(f"/proc/{process.pid}/clear_refs").write_text(
            "5"
        )  # forget the peak so far: proc_pid_clear_refs(5)
    before = [peak(process.pid) for process in processes]
    grown: list[int] = []
    yield grown
    grown += [peak(process.pid) - size for process, size in zip(processes, before, strict=True)]


def peak(pid: int) -> int:
    """The most memory that a process had since it was last reset, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def bomb(told: bool) -> bytes:
    """A gigabyte of zeros, compressed to some 32 KB."""
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=told)
    pieces = compressor.compressobj(size=BOMB if told else -1)
    zeros = bytes(1 << 20)
    return b"".join(pieces.compress(zeros) for _ in range(BOMB >> 20)) + pieces.flush()


def objects(stack: LocalStack) -> set[str]:
    """Every object that the storage emulator holds, with its bucket, and every file that is not its own beside them."""
    root = stack.directory / "storage"
    files = {
        str(path) for path in root.rglob("*") if path.is_file() and path.parent.name != "bodies"
    }
    return {name for name in files if "/index.sqlite3" not in name} | set(names_in_storage(stack))


def names_in_storage(stack: LocalStack) -> Iterator[str]:
    """The names of all objects, each after that of its bucket."""
    url = stack.environment["STORAGE_EMULATOR_HOST"]
    for bucket in ask(url, "GET", "/storage/v1/b")["items"]:
        page: dict[str, Any] = {"nextPageToken": ""}
        while "nextPageToken" in page:
            page = ask(
                url, "GET", f"/storage/v1/b/{bucket['name']}/o?pageToken={page['nextPageToken']}"
            )
            yield from (f"{item['bucket']}/{item['name']}" for item in page.get("items", []))


def is_stray(name: str) -> bool:
    """Whether a file is none of a run's objects, or of one that only a forged message speaks of."""
    return not re.search(
        r"/mill/(runs/[a-z0-9-]+/|open/|dead/|done/[0-9a-f]{16}/[a-z0-9-]+$)", name
    ) or bool(re.search("outside|nobody|passwd", name))


def waits(client: Any, task_id: str) -> list[bytes]:
    """The first arguments of the messages of a task that wait in the broker, taken or not."""
    held = [json.loads(one)[0] for one in client.hvals("promptmill.unacked")]
    held += [json.loads(one) for queue in queues.ALL_QUEUES for one in client.lrange(queue, 0, -1)]
    return [
        first_argument(one)
        for one in held
        if one["headers"].get("id") == task_id and one["headers"].get("eta")
    ]


def first_argument(message: dict[str, Any]) -> Any:
    args, *_ = loads(
        base64.b64decode(message["body"]), message["content-type"], message["content-encoding"]
    )
    return args[0]
