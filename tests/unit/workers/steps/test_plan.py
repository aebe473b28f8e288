"""Division of runs into few shards of similar size within Vertex's limits."""

from datetime import datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.config.errors import ConfigurationError
from promptmill.producers.contract.messages import ChunkSize, Manifest
from promptmill.producers.pricing import prices
from promptmill.producers.pricing.prices import Prices
from promptmill.workers.coordination import progress
from promptmill.workers.facts.records import Plan, ShardPlan
from promptmill.workers.facts.snapshot import load_snapshot
from promptmill.workers.steps.plan import check_model, divide_chunks, plan
from support.fake_pipeline import FakePipeline
from support.fake_worker import FakeWorker

CHUNKS = st.lists(
    st.builds(ChunkSize, st.integers(1, 60), st.integers(1, 100)), min_size=1, max_size=40
)
MAX_BYTES = 200


def rows(shards: list[ShardPlan]) -> list[int]:
    return [
        row for shard in shards for row in range(shard.first_row, shard.first_row + shard.requests)
    ]


@settings(max_examples=300)
@given(CHUNKS, st.integers(1, 100))
def test_every_row_is_in_one_shard_and_no_shard_exceeds_a_limit(
    chunks: list[ChunkSize], most: int
) -> None:
    shards = divide_chunks(chunks, most, MAX_BYTES)

    assert rows(shards) == list(range(1, sum(chunk.requests for chunk in chunks) + 1))
    assert all(0 < shard.requests <= most for shard in shards)
    for shard in shards:
        held = chunks[shard.first_chunk : shard.last_chunk + 1]
        assert len(held) == 1 or sum(chunk.size for chunk in held[1:-1]) <= MAX_BYTES


@given(CHUNKS, st.integers(60, 200))
def test_the_rows_of_a_shard_lie_in_its_chunks(chunks: list[ChunkSize], most: int) -> None:
    ends = [0]
    for chunk in chunks:
        ends.append(ends[-1] + chunk.requests)

    for shard in divide_chunks(chunks, most, 10**9):
        assert ends[shard.first_chunk] < shard.first_row
        assert shard.first_row + shard.requests - 1 <= ends[shard.last_chunk + 1]


@given(CHUNKS, st.integers(60, 1000))
def test_the_number_of_shards_is_close_to_the_minimum(chunks: list[ChunkSize], most: int) -> None:
    needed = -(-sum(chunk.requests for chunk in chunks) // most)

    assert len(divide_chunks(chunks, most, 10**9)) <= 2 * needed


@given(st.integers(1, 400), st.integers(1, 30))
def test_a_run_within_the_limits_is_one_shard(chunks: int, requests: int) -> None:
    assert divide_chunks([ChunkSize(requests, 10)] * chunks, 200_000, 10**9) == [
        ShardPlan(1, chunks * requests, 0, chunks - 1)
    ]


@given(st.integers(2, 9), st.integers(20, 60))
def test_shards_have_similar_sizes(wanted: int, chunks: int) -> None:
    run = [ChunkSize(10, 100)] * (chunks * wanted)

    sizes = [shard.requests for shard in divide_chunks(run, chunks * 10 + 40, 10**9)]

    assert min(sizes) * 2 >= max(sizes)


def test_a_chunk_with_more_rows_than_a_job_allows_is_divided() -> None:
    assert divide_chunks([ChunkSize(5, 50), ChunkSize(1, 10)], 2, 10**9) == [
        ShardPlan(1, 2, 0, 0),
        ShardPlan(3, 2, 0, 0),
        ShardPlan(5, 2, 0, 1),
    ]


def test_of_two_concurrent_plans_the_first_counts() -> None:
    pipeline = FakePipeline(chunk_bytes=10)
    run = pipeline.send(["a", "b", "c", "d"])
    first: list[Plan] = []

    def be_overtaken(model: str, at: datetime) -> Prices | None:
        first.append(plan(pipeline.folder(run), 4, 1 << 20))
        return prices.find_prices(model, at)

    assert plan(pipeline.folder(run), 2, 1 << 20, find_prices=be_overtaken) == first[0]
    assert len(first[0].shards) == 1


@pytest.mark.parametrize(
    ("model", "location", "tables", "reason"),
    [
        ("gemini-3.8-flash", "us-central1", "", "has no batch jobs in us-central1"),
        ("gemini-3.8-flash", "global", "acme.runs", "jobs in global cannot read or write"),
        ("gemini-2.5-flash", "global", "", "was retired on 2026-10-20"),
        ("publishers/anthropic/models/claude-x", "global", "", "partner models"),
    ],
)
def test_a_run_that_google_would_refuse_has_no_plan(
    model: str, location: str, tables: str, reason: str
) -> None:
    pipeline = FakePipeline()
    folder = pipeline.folder(pipeline.send(["a"]))

    def check(manifest: Manifest) -> list[str]:
        changed = msgspec.structs.replace(manifest, model=model, tables=tables)
        return check_model(changed, location, refuse=True)

    with pytest.raises(ConfigurationError, match=reason):
        plan(folder, 2, 1 << 20, check_model=check)
    assert not folder.plan.exists()


def test_a_run_that_is_planned_stays_planned_when_its_model_is_refused_later() -> None:
    pipeline = FakePipeline()
    folder = pipeline.folder(pipeline.send(["a"]))
    planned = plan(folder, 2, 1 << 20)

    def check(_: Manifest) -> list[str]:
        raise ConfigurationError("it was retired")

    assert plan(folder, 2, 1 << 20, check_model=check) == planned


def test_the_warnings_of_a_plan_are_in_the_status_of_the_run() -> None:
    worker = FakeWorker(FakePipeline())
    run = worker.pipeline.send(["a"])
    planned = plan(
        worker.pipeline.folder(run), 2, 1 << 20, check_model=lambda _: ["it may retire soon"]
    )
    progress.restore_run(
        worker.services.index, worker.pipeline.bucket, load_snapshot(worker.pipeline.bucket, run)
    )
    assert worker.pipeline.drive(run).warnings == planned.warnings
    assert planned.warnings == worker.status.warnings == ["it may retire soon"]
