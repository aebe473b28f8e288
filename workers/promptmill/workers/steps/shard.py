"""Writes the input file of one shard."""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.producers.contract.messages import Chunk, Manifest
from promptmill.workers.attempts import adjustments, answer_reuse, cost_limit
from promptmill.workers.attempts.adjustments import Mending
from promptmill.workers.attempts.cost_limit import Bounds
from promptmill.workers.attempts.deduplication import Finder
from promptmill.workers.facts import records
from promptmill.workers.facts.next_steps import FIRST_ATTEMPT
from promptmill.workers.facts.records import Input, Plan, ShardPlan
from promptmill.workers.facts.request_lines import chunks
from promptmill.workers.ports.google import Bucket


def shard(bucket: Bucket, run: str, index: int, attempt: int) -> Input:
    """Write the input file from the chunks, and then the fact that it is whole; the same bytes every time."""
    folder = names.shard(run, index, attempt)
    return records.once(bucket, folder + "input.json", Input, lambda: _shard(bucket, run, index, attempt))


def _shard(bucket: Bucket, run: str, index: int, attempt: int) -> Input:
    tally = _Tally()
    if attempt > FIRST_ATTEMPT and cost_limit.is_limited(bucket, run):
        tally.bounds = cost_limit.Bounds()
    manifest, plan = records.get(bucket, names.manifest(run), Manifest), records.get(bucket, names.plan(run), Plan)
    if plan.copies:
        tally.finder = Finder()
    rows = plan.shards[index]
    reused = answer_reuse.reuse(bucket, manifest, index, attempt, rows)
    wanted, mended = wanted_rows(bucket, manifest, index, attempt, rows), adjustments.load(bucket, run, index, attempt)
    name = names.shard(run, index, attempt) + "input.jsonl"
    size = bucket.write_stream(name, _input(bucket, run, rows, wanted, mended, tally))
    tokens = tally.bounds.tokens if tally.bounds else None
    copies = len(tally.finder.found) if tally.finder else 0
    if tally.finder and copies:
        records.put(bucket, names.copies(run, index, attempt), tally.finder.found)
    return Input(tally.requests, size, tally.refused, records.now(), tokens, copies, reused.count)


def wanted_rows(bucket: Bucket, manifest: Manifest, index: int, attempt: int, rows: ShardPlan) -> int:
    """Return the bitmap of the shard's rows that an attempt is for.

    At first these are all that have no answer of an earlier run, and then those that were put off.
    """
    if attempt == FIRST_ATTEMPT:
        return (1 << rows.requests) - 1 & ~answer_reuse.load(bucket, manifest, index, attempt).bitmap
    before = names.shard(manifest.run, index, attempt - 1)
    return records.unpack(records.get(bucket, before + "settled.json", records.Settled).again)


class _Tally:
    requests = 0
    refused = 0
    bounds: Bounds | None = None
    finder: Finder | None = None


def _input(bucket: Bucket, run: str, rows: ShardPlan, wanted: int, mended: Mending, tally: _Tally) -> Iterator[bytes]:
    whole = wanted.bit_count() == rows.requests and not mended and tally.bounds is None and tally.finder is None
    for chunk in chunks(bucket, run, rows):
        if whole and not chunk.refused and _lies_within(chunk, rows):
            tally.requests += chunk.requests
            yield chunk.lines()
        else:
            yield _fit(chunk, rows, wanted, mended, tally)


def _lies_within(chunk: Chunk, rows: ShardPlan) -> bool:
    return rows.first_row <= chunk.first_row and chunk.first_row + chunk.requests <= rows.first_row + rows.requests


def _fit(chunk: Chunk, rows: ShardPlan, wanted: int, mended: Mending, tally: _Tally) -> bytes:
    refused = set(chunk.refused)
    kept = []
    for row, line in enumerate(chunk.lines().split(b"\n")[:-1], chunk.first_row):
        if row < rows.first_row or not wanted >> (row - rows.first_row) & 1:
            continue
        if row in refused:
            tally.refused += 1
            continue
        line = mended.apply(line, row - rows.first_row)
        if tally.finder and tally.finder.is_copy(line, row - rows.first_row):
            continue
        kept.append(line + b"\n")
        if tally.bounds:
            tally.bounds.add(kept[-1])
    tally.requests += len(kept)
    return b"".join(kept)
