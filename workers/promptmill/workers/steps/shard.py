"""Writes the input file of one shard."""

from collections.abc import Iterator

from promptmill.producers.contract.messages import Chunk
from promptmill.workers.attempts import adjustments, answer_reuse, cost_limit
from promptmill.workers.attempts.adjustments import Adjustments
from promptmill.workers.attempts.cost_limit import UsageBounds
from promptmill.workers.attempts.deduplication import Deduplicator
from promptmill.workers.attempts.rows import wanted_rows
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Input, ShardPlan
from promptmill.workers.facts.request_lines import read_chunks
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder


def shard(attempt: AttemptFolder) -> Input:
    """Write the input file, with the same bytes every time, then record that it is complete."""
    return attempt.input.get_or_create(lambda: _write_input(attempt))


def _write_input(attempt: AttemptFolder) -> Input:
    totals = _InputTotals()
    if not attempt.is_first and cost_limit.has_cost_limit(attempt.run):
        totals.bounds = UsageBounds()
    manifest, plan = attempt.run.manifest.get(), attempt.run.plan.get()
    if plan.deduplicated:
        totals.deduplicator = Deduplicator()
    shard_plan = plan.shards[attempt.shard]
    reused = answer_reuse.reuse_answers(attempt, manifest, shard_plan)
    wanted = wanted_rows(attempt, manifest, shard_plan)
    row_adjustments = adjustments.load_adjustments(attempt)
    lines = _input_lines(attempt.run, shard_plan, wanted, row_adjustments, totals)
    size = attempt.bucket.write_stream(attempt.input_file, lines)
    tokens = totals.bounds.total_tokens if totals.bounds else None
    return Input(
        totals.requests,
        size,
        totals.refused,
        records.current_time(),
        tokens,
        deduplicated=_record_deduplicated(attempt, totals.deduplicator),
        reused=reused.count,
    )


def _record_deduplicated(attempt: AttemptFolder, deduplicator: Deduplicator | None) -> int:
    if deduplicator is None or not deduplicator.deduplicated:
        return 0
    attempt.deduplicated.create(deduplicator.deduplicated)
    return len(deduplicator.deduplicated)


class _InputTotals:
    requests = 0
    refused = 0
    bounds: UsageBounds | None = None
    deduplicator: Deduplicator | None = None


def _input_lines(
    run: RunFolder,
    shard_plan: ShardPlan,
    wanted: RowSet,
    row_adjustments: Adjustments,
    totals: _InputTotals,
) -> Iterator[bytes]:
    is_unchanged = (
        len(wanted) == shard_plan.requests
        and not row_adjustments
        and totals.bounds is None
        and totals.deduplicator is None
    )
    for chunk in read_chunks(run, shard_plan):
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
    wanted: RowSet,
    row_adjustments: Adjustments,
    totals: _InputTotals,
) -> bytes:
    refused = set(chunk.refused)
    selected = []
    for row, line in enumerate(chunk.decompress_lines().split(b"\n")[:-1], chunk.first_row):
        if row - shard_plan.first_row not in wanted:
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
