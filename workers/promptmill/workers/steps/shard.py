"""Writes the input file of one shard."""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.producers.contract.messages import Chunk, Manifest
from promptmill.workers.attempts import adjustments, answer_reuse, cost_limit
from promptmill.workers.attempts.adjustments import Adjustments
from promptmill.workers.attempts.cost_limit import UsageBounds
from promptmill.workers.attempts.deduplication import Deduplicator
from promptmill.workers.attempts.rows import wanted_rows
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Input, Plan, ShardPlan
from promptmill.workers.facts.request_lines import read_chunks
from promptmill.workers.facts.run_folder import FIRST_ATTEMPT
from promptmill.workers.ports.google import Bucket


def shard(bucket: Bucket, run: str, shard_number: int, attempt: int) -> Input:
    """Write the input file from the chunks, and then the fact that it is whole; the same bytes every time."""
    folder = names.shard(run, shard_number, attempt)
    return records.get_or_create(
        bucket,
        folder + "input.json",
        Input,
        lambda: _write_input(bucket, run, shard_number, attempt),
    )


def _write_input(bucket: Bucket, run: str, shard_number: int, attempt: int) -> Input:
    totals = _InputTotals()
    if attempt > FIRST_ATTEMPT and cost_limit.has_cost_limit(bucket, run):
        totals.bounds = cost_limit.UsageBounds()
    manifest, plan = (
        records.get_fact(bucket, names.manifest(run), Manifest),
        records.get_fact(bucket, names.plan(run), Plan),
    )
    if plan.copies:
        totals.deduplicator = Deduplicator()
    shard_plan = plan.shards[shard_number]
    reused = answer_reuse.reuse_answers(bucket, manifest, shard_number, attempt, shard_plan)
    wanted, row_adjustments = (
        wanted_rows(bucket, manifest, shard_number, attempt, shard_plan),
        adjustments.load_adjustments(bucket, run, shard_number, attempt),
    )
    name = names.shard(run, shard_number, attempt) + "input.jsonl"
    size = bucket.write_stream(
        name, _input_lines(bucket, run, shard_plan, wanted, row_adjustments, totals)
    )
    tokens = totals.bounds.total_tokens if totals.bounds else None
    deduplicated_count = len(totals.deduplicator.deduplicated) if totals.deduplicator else 0
    if totals.deduplicator and deduplicated_count:
        records.create_fact(
            bucket,
            names.deduplicated_rows(run, shard_number, attempt),
            totals.deduplicator.deduplicated,
        )
    return Input(
        totals.requests,
        size,
        totals.refused,
        records.current_time(),
        tokens,
        deduplicated_count,
        reused.count,
    )


class _InputTotals:
    requests = 0
    refused = 0
    bounds: UsageBounds | None = None
    deduplicator: Deduplicator | None = None


def _input_lines(
    bucket: Bucket,
    run: str,
    shard_plan: ShardPlan,
    wanted: int,
    row_adjustments: Adjustments,
    totals: _InputTotals,
) -> Iterator[bytes]:
    is_unchanged = (
        wanted.bit_count() == shard_plan.requests
        and not row_adjustments
        and totals.bounds is None
        and totals.deduplicator is None
    )
    for chunk in read_chunks(bucket, run, shard_plan):
        if is_unchanged and not chunk.refused and _lies_within(chunk, shard_plan):
            totals.requests += chunk.requests
            yield chunk.decompress_lines()
        else:
            yield _select_lines(chunk, shard_plan, wanted, row_adjustments, totals)


def _lies_within(chunk: Chunk, shard_plan: ShardPlan) -> bool:
    return (
        shard_plan.first_row <= chunk.first_row
        and chunk.first_row + chunk.requests <= shard_plan.first_row + shard_plan.requests
    )


def _select_lines(
    chunk: Chunk,
    shard_plan: ShardPlan,
    wanted: int,
    row_adjustments: Adjustments,
    totals: _InputTotals,
) -> bytes:
    refused = set(chunk.refused)
    selected = []
    for row, line in enumerate(chunk.decompress_lines().split(b"\n")[:-1], chunk.first_row):
        if row < shard_plan.first_row or not wanted >> (row - shard_plan.first_row) & 1:
            continue
        if row in refused:
            totals.refused += 1
            continue
        line = row_adjustments.adjust_line(line, row - shard_plan.first_row)
        if totals.deduplicator and totals.deduplicator.is_duplicate(
            line, row - shard_plan.first_row
        ):
            continue
        selected.append(line + b"\n")
        if totals.bounds:
            totals.bounds.add_line(selected[-1])
    totals.requests += len(selected)
    return b"".join(selected)
