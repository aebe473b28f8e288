"""What people and machines can see of a run: readable ids, and not a word of a prompt or an answer."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import zstandard
from celery import Celery

from promptmill.producers import Promptmill, Run
from support.local_stack import LocalStack, ask, done
from support.waiting import wait_until

CANARY = "canary-7f3a"
ZSTD = b"\x28\xb5\x2f\xfd"


@pytest.fixture(scope="module")
def broker(stack: LocalStack) -> Iterator[Any]:
    with redis.Redis.from_url(stack.environment["CELERY_BROKER_URL"]) as client:
        yield client


@pytest.fixture
def run(stack: LocalStack, mill: Promptmill, broker: Any) -> Run:
    """A run with marked prompts, some of which fail, that was looked for in Redis while its job was under way too."""
    stack.fault("output", "error", count=2, code=400, message="refused")
    stack.fault("output", "invalid", count=2)
    stack.fault("output", "keyless", count=2, seed=1)
    run = mill.submit([*(f"Say {CANARY} {number}" for number in range(500)), ""], max_attempts=1)
    wait_until(lambda: stack.jobs(run.id), "the job")
    assert holders(broker) == []
    done(run)
    return run


def test_flower_shows_every_task_by_a_readable_id_and_no_prompt(
    stack: LocalStack, run: Run
) -> None:
    url = str(stack.status()["flower"].url)

    def tasks() -> dict[str, dict[str, object]]:
        shown = ask(url, "GET", "/api/tasks?limit=10000")
        found = {name: task for name, task in shown.items() if name.startswith(run.id)}
        return found if any(name.endswith(".finish") for name in found) else {}

    found = wait_until(tasks, "the end of the run in Flower")

    stages = {name.removeprefix(run.id) for name in found}
    assert {
        ".c00000.ingest",
        ".plan",
        ".s000.a1.shard",
        ".s000.a1.submit",
        ".s000.a1.collect",
    } <= stages
    assert {".s000.a1.p00000.parse", ".s000.a1.settle", ".finish"} <= stages
    assert all(re.fullmatch(r"promptmill\.[a-z]+", str(task["name"])) for task in found.values())
    assert found[f"{run.id}.c00000.ingest"]["args"] == f"({run.id}.c00000.ingest)"
    assert CANARY not in str(ask(url, "GET", "/api/tasks?limit=10000"))
    assert CANARY not in str(ask(url, "GET", "/api/workers?refresh=1"))


@pytest.mark.usefixtures("run")
def test_no_log_holds_a_prompt(stack: LocalStack) -> None:
    logs = sorted((stack.directory / "logs").glob("*.log"))

    assert {"worker.log", "poll.log", "emulator.log", "flower.log"} <= {log.name for log in logs}
    assert [log.name for log in logs if CANARY in log.read_text()] == []


def test_no_log_holds_an_answer_that_did_not_fit_its_schema(
    stack: LocalStack, mill: Promptmill
) -> None:
    schema = {
        "type": "object",
        "properties": {"word": {"type": "integer", "description": "A number"}},
    }
    stack.fault("output", "off-schema", count=5, times=2)
    run = mill.submit(
        [f"Say {CANARY} {n}" for n in range(9)], response_schema=schema, retry_schema_invalid=True
    )

    done(run)

    failed = list(run.failures())
    assert [result.text for result in failed] == ['{"word":"off schema"}'] * len(failed) != []
    words = [
        path.name
        for path in (stack.directory / "logs").glob("*.log")
        if "off schema" in path.read_text()
    ]
    assert words == []


def test_a_task_that_crashes_logs_nothing_of_its_message(stack: LocalStack) -> None:
    log = stack.directory / "logs" / "worker.log"
    sender = Celery(broker=stack.environment["CELERY_BROKER_URL"], set_as_current=False)
    with sender:
        sender.send_task(
            "promptmill.ingest",
            [f"{CANARY} is not bytes"],
            task_id="crash.ingest",
            queue="promptmill.ingest",
        )

    wait_until(
        lambda: re.search(r"promptmill\.ingest\[crash\.ingest\] raised", log.read_text()),
        "the error in the log",
    )
    assert CANARY not in log.read_text()


@pytest.mark.usefixtures("run")
def test_redis_holds_no_prompt_once_the_messages_are_taken(broker: Any) -> None:
    assert holders(broker) == []


def test_a_prompt_waits_in_redis_in_the_ingest_message_alone(
    stack: LocalStack, broker: Any
) -> None:
    """Shows too that the search finds what is compressed. In another database, where no worker takes the message."""
    other = stack.environment["CELERY_BROKER_URL"].removesuffix("/0") + "/8"
    mill = Promptmill(broker_url=other, redis_url=other, model="gemini-3.8-flash")
    mill.submit([f"Say {CANARY}", *("something longer" for _ in range(500))])

    with redis.Redis.from_url(other) as client:
        assert holders(client) == ["promptmill.ingest"]
        client.flushdb()


def holders(client: Any) -> list[str]:
    """The keys of a Redis database whose values have the canary in them, however they are packed."""
    return sorted(
        key.decode() for key in client.scan_iter() if any(map(tells, values(client, key)))
    )


def values(client: Any, key: bytes) -> Iterator[bytes]:
    """All that Redis holds under a key, and the key itself."""
    yield key
    match client.type(key):
        case b"string":
            yield client.get(key) or b""
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"hash":
            for pair in client.hgetall(key).items():
                yield from pair
        case b"set":
            yield from client.smembers(key)
        case b"zset":
            yield from client.zrange(key, 0, -1)
        case b"none":
            return  # it went while this looked
        case other:
            raise AssertionError(f"{key!r} is a {other!r}")


def tells(value: bytes) -> bool:
    """Whether a value has the canary in it: as it is, in base64, or compressed in either."""
    texts = [text for text in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", value) if len(text) % 4 == 0]
    layers = [value, *map(base64.b64decode, texts)]
    layers += [unpacked for layer in layers for unpacked in frames(layer)]
    return any(CANARY.encode() in layer for layer in layers)


def frames(data: bytes) -> Iterator[bytes]:
    """What is compressed within the data."""
    for found in re.finditer(re.escape(ZSTD), data):
        yield zstandard.ZstdDecompressor().decompressobj().decompress(data[found.start() :])
