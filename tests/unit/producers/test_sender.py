"""Producers send no faster than the workers take."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any

import kombu
import pytest

from promptmill.config.errors import Transient
from promptmill.config.settings import load_settings
from promptmill.producers.contract.connection import Connection
from promptmill.producers.contract.messages import (
    Chunk,
    ChunkSize,
    Manifest,
    Seal,
    decode_chunk,
    decode_ingest,
)
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.sender import Sender
from support.chunking import cut

MIB = 1 << 20
MANIFEST = Manifest("01jtest", "m", 1.0)


class Queue(Connection):
    """A Redis that tells these sizes of the queue, one after the other."""

    def __init__(self, *sizes: int) -> None:
        super().__init__("redis://127.0.0.1:1")
        self._sizes: Iterator[int] = chain(sizes, repeat(sizes[-1]))
        self.looks = 0

    @contextmanager
    def use_client(self) -> Iterator[Any]:
        yield self

    def memory_usage(self, queue: str, samples: int) -> int:
        assert queue == "promptmill.ingest"
        self.looks += 1
        return next(self._sizes)


@pytest.fixture
def broker() -> Iterator[kombu.Connection]:
    with kombu.Connection("memory://") as connection:
        yield connection
        connection.SimpleQueue("promptmill.ingest").clear()


def chunk(size: int) -> Chunk:
    return Chunk(0, 1, 1, size, b"", b"x" * size)


def test_a_chunk_travels_whole_with_its_run_and_the_seal(broker: kombu.Connection) -> None:
    (made,) = cut(encode_lines("01jtest", ["a"], 1000), 1000)
    seal = Seal([ChunkSize(1, made.size)])
    sender = Sender(load_settings(broker_url="memory://"), Queue(0))

    sender.send_chunk(MANIFEST, made, seal)

    message = broker.SimpleQueue("promptmill.ingest").get(block=False)
    message.accept = {"application/x-msgpack"}
    ((body,), _, _) = message.payload
    sent = decode_ingest(body)
    assert (sent.run, decode_chunk(sent.chunk), sent.seal) == (MANIFEST, made, seal)
    assert message.headers["task"] == "promptmill.ingest"
    assert message.headers["id"] == "01jtest.c00000.ingest"
    assert message.headers["argsrepr"] == "(01jtest.c00000.ingest)"
    message.ack()


def test_a_sender_waits_while_the_queue_is_over_its_limit(broker: kombu.Connection) -> None:
    queue = Queue(9 * MIB, 9 * MIB, 8 * MIB)
    sender = Sender(load_settings(broker_url="memory://", max_queued_bytes=8 * MIB), queue)

    sender.send_chunk(MANIFEST, chunk(MIB), None)

    assert queue.looks == 3
    assert broker.SimpleQueue("promptmill.ingest").qsize() == 1


def test_the_queue_is_looked_at_once_in_an_eighth_of_its_limit(broker: kombu.Connection) -> None:
    queue = Queue(0)
    sender = Sender(load_settings(broker_url="memory://", max_queued_bytes=8 * MIB), queue)

    for _ in range(16):
        sender.send_chunk(MANIFEST, chunk(MIB // 4), None)

    assert queue.looks == 4
    assert broker.SimpleQueue("promptmill.ingest").qsize() == 16


def test_a_broker_that_cannot_be_reached_is_named_without_its_password() -> None:
    sender = Sender(load_settings(broker_url="redis://user:secret@127.0.0.1:1/0"), Queue(0))

    with pytest.raises(
        Transient, match=r"redis://user:\*\*\*@127.0.0.1:1/0 \(CELERY_BROKER_URL\)"
    ) as caught:
        sender.send_chunk(MANIFEST, chunk(10), None)
    assert "secret" not in str(caught.value)
