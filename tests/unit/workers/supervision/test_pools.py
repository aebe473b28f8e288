"""Each call is in one batch and each batch in one run, however many workers store and cut."""

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.settings import load_settings
from promptmill.producers import pools
from promptmill.producers.contract.messages import Manifest, compress_lines
from promptmill.workers.facts.records import Cut
from promptmill.workers.fakes import MemoryBucket
from promptmill.workers.steps import cut, pool
from promptmill.workers.steps.pool import BatchSize, PoolEntry, PoolLimits
from support.fake_pipeline import Clock

TEMPLATE = Manifest("", "publishers/google/models/gemini-fake", 0.0, labels={"pool": "tickets"})


def call(number: int, key: str = "", text: str = "") -> PoolEntry:
    prompt = {"key": key or f"k{number}", "prompt": text or f"Say {number}"}
    packed = pools.pack_call(load_settings(), TEMPLATE, "tickets", [prompt], b"")
    return PoolEntry(b"%d-0" % number, msgspec.structs.replace(packed, id=f"call{number:04d}"))


CALLS = [call(number) for number in range(12)]


def cut_all(bucket: MemoryBucket, run: str) -> Cut | None:
    """Cut all free batches as a run."""
    for found in pool.load_pools(bucket):
        if found.free_batches:
            ids = [stored.name.rpartition("/")[2] for stored in found.free_batches]
            return pool.create_cut(
                bucket, found, Cut(run, found.pool, found.options, ids, 1.0, 1 << 14, 1 << 20)
            )
    return None


def keep_all(bucket: MemoryBucket, stream: list[PoolEntry]) -> None:
    """Store all remaining calls, as a worker without failures."""
    while stream:
        for kept in pool.store_calls(bucket, stream):
            stream = [one for one in stream if one.stream_id not in kept.stream_ids]


@given(st.integers(0, 1 << 32))
def test_each_call_is_cut_once_however_workers_interleave_and_die(
    seed: int,
) -> None:
    order, bucket = random.Random(seed), MemoryBucket(f"gs://fake/{seed}")
    stream: list[PoolEntry] = []
    coming, read, cuts = list(CALLS), [], []
    for moment in range(60):
        match order.randrange(5):
            case 0 if coming:
                stream.append(coming.pop(0))
            case 1 if stream:
                read.append(
                    stream[: order.randint(1, len(stream))]
                )  # a worker that may hang from here on
            case 2 if read:
                for kept in pool.store_calls(bucket, read.pop(order.randrange(len(read)))):
                    if order.random() < 0.7:  # or dies
                        stream = [one for one in stream if one.stream_id not in kept.stream_ids]
            case 3 if made := cut_all(bucket, f"run{moment:03d}"):
                cuts.append(made)
    keep_all(bucket, stream + coming)
    cuts += [made for made in [cut_all(bucket, "last")] if made]

    found = Counter(
        one.id
        for made in cuts
        for batch in made.batches
        for one in pool.read_batch(bucket, f"pools/{made.pool}/{made.options}/{batch}").unique_calls
    )
    assert found == Counter(one.pooled.id for one in CALLS)


def test_two_concurrent_cuts_use_the_first_one() -> None:
    bucket = MemoryBucket()
    list(pool.store_calls(bucket, CALLS[:3]))
    (one,), (other,) = pool.load_pools(bucket), pool.load_pools(bucket)

    first = pool.create_cut(
        bucket, one, Cut("first", "tickets", one.options, ["call0000"], 1.0, 1, 1)
    )
    second = pool.create_cut(
        bucket, other, Cut("second", "tickets", one.options, ["call0000"], 2.0, 1, 1)
    )

    assert first == second
    assert other.free_batches == []


def test_a_duplicate_call_is_removed_without_a_second_batch() -> None:
    bucket = MemoryBucket()
    list(pool.store_calls(bucket, [CALLS[0]]))

    (kept,) = pool.store_calls(bucket, [CALLS[0]._replace(stream_id=b"99-0")])

    assert kept.stream_ids == [b"99-0"]


def test_a_request_with_a_used_key_waits_for_the_next_run_and_an_identical_one_counts_once() -> (
    None
):
    bucket = MemoryBucket()
    list(
        pool.store_calls(
            bucket,
            [call(0, "a", "one"), call(1, "a", "one"), call(2, "a", "two"), call(3, "b", "one")],
        )
    )
    made = cut_all(bucket, "first")
    assert made

    for _ in range(2):
        gathering = cut.CutReader(bucket, made)
        assert [line.key for line in gathering.read_requests()] == ["a", "b"]
        gathering.mark_done()

    assert cut.is_done(bucket, made)
    following = cut_all(bucket, "second")
    assert following
    assert following.batches == ["first"]
    assert [line.key for line in cut.CutReader(bucket, following).read_requests()] == ["a"]
    cut.delete_batches(bucket, made)
    assert [stored.name.rpartition("/")[2] for stored in bucket.list("pools/")] == ["first"]


def test_an_invalid_call_does_not_block_valid_ones() -> None:
    bucket = MemoryBucket()
    good, spoilt, keyless = call(0, "a"), call(1), call(2)
    spoilt = spoilt._replace(pooled=msgspec.structs.replace(spoilt.pooled, data=b"no"))
    lines = b'{"prompt": "no key"}\n{"key": "", "prompt": "none"}\n'
    keyless = keyless._replace(
        pooled=msgspec.structs.replace(
            keyless.pooled, requests=2, size=len(lines), data=compress_lines(lines)
        )
    )
    list(pool.store_calls(bucket, [good, spoilt, keyless]))
    made = cut_all(bucket, "run")
    assert made

    gathering = cut.CutReader(bucket, made)

    assert [line.key for line in gathering.read_requests()] == ["a"]
    assert gathering.refused_count == 3


@pytest.mark.parametrize(
    ("limits", "age", "expected"),
    [
        (PoolLimits(100, 1000, 60), 59.0, []),
        (PoolLimits(100, 1000, 60), 60.0, ["call0000", "call0001", "call0002"]),
        (PoolLimits(30, 1000, 60), 0.0, ["call0000", "call0001", "call0002"]),
        (PoolLimits(25, 1000, 60), 0.0, ["call0000", "call0001"]),
        (PoolLimits(100, 150, 60), 0.0, ["call0000"]),
        (PoolLimits(1, 1, 60), 0.0, ["call0000"]),
    ],
)
def test_a_run_is_cut_by_count_bytes_or_age_and_is_not_larger_than_the_limits(
    limits: PoolLimits, age: float, expected: list[str]
) -> None:
    bucket, sizes = MemoryBucket(clock=Clock()), {}
    for one in CALLS[:3]:
        list(pool.store_calls(bucket, [one]))
        sizes[one.pooled.id] = BatchSize(10, 100)
    (found,) = pool.load_pools(bucket)

    assert pool.select_batches(found.free_batches, sizes, age, limits) == expected


def test_old_cuts_are_deleted_except_the_last_and_those_with_batches() -> None:
    bucket = MemoryBucket(clock=Clock())
    made = []
    for number in range(3):
        list(pool.store_calls(bucket, [CALLS[number]]))
        made.append(cut_all(bucket, f"run{number}"))
    assert made[1]
    for one in (made[1], made[2]):
        assert one
        cut.delete_batches(bucket, one)

    pool.delete_old_cuts(bucket, 100.0, 1_700_000_200.0)

    assert [stored.name.rpartition("/")[2] for stored in bucket.list("cuts/")] == [
        "00000000.json",
        "00000002.json",
    ]
