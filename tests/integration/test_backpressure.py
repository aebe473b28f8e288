"""A producer stops when a set number of bytes is queued, and goes on when they are taken, whichever Redis has the index."""

import base64
import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from promptmill.config.queues import INGEST
from promptmill.producers import Promptmill
from support.local_stack import MODEL, running
from support.waiting import wait_until

MIB = 1 << 20
PROMPTS = 96
NOISE = [
    base64.b64encode(random.Random(number).randbytes(48 << 10)).decode()
    for number in range(PROMPTS)
]
"""Prompts without a pattern, as chunks are compressed: several MiB of them."""


def test_a_producer_waits_for_room_on_the_broker_and_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path, ("redis",)) as stack:
        url = stack.environment["CELERY_BROKER_URL"]
        limits: dict[str, Any] = {"max_queued_bytes": MIB, "chunk_bytes": MIB // 4}
        index = url.removesuffix("/0") + "/1"
        mill = Promptmill(
            broker_url=url, redis_url=index, bucket="gs://nobody/reads", model=MODEL, **limits
        )
        producer = threading.Thread(target=mill.submit, args=[NOISE])
        with redis.Redis.from_url(url) as broker:
            producer.start()
            wait_until(lambda: queued_bytes(broker) > MIB, "a full queue")
            with pytest.raises(AssertionError):
                wait_until(
                    lambda: not producer.is_alive(),
                    "the end of a producer that should wait",
                    seconds=3,
                )
            queued = queued_bytes(broker)
            taken = []
            while producer.is_alive() or broker.llen(INGEST):
                message: Any = broker.rpop(INGEST)
                taken += [json.loads(message)["headers"]["id"]] if message else []
            producer.join()

    assert MIB < queued < 2 * MIB
    assert [one.partition(".")[2] for one in taken] == [
        f"c{chunk:05d}.ingest" for chunk in range(len(taken))
    ]
    assert len(taken) > 16


def queued_bytes(broker: "redis.Redis") -> int:
    """Return how much memory the queue takes."""
    size: Any = broker.memory_usage(INGEST)
    return size or 0
