"""Gives every row of an attempt exactly one final state, or another attempt, once all parts are parsed.

A row may be answered in several parts, or in none. The first success counts, else the first failure, in the order of
parts; a row without any gets a failure that says why. Answers that came back without a key are joined by their request.
Rows whose failure may pass are put off to the next attempt, unless this was the last. A copy shares the fate of the row
that was asked in its place.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec

from promptmill.config import names
from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Error
from promptmill.workers.attempts import answer_reuse, deduplication, schema_feedback
from promptmill.workers.attempts.unanswered import UnansweredRows
from promptmill.workers.facts import records
from promptmill.workers.facts.records import (
    Counts,
    Ended,
    Parsed,
    Parts,
    Plan,
    ResultFile,
    Settled,
    ShardPlan,
)
from promptmill.workers.output.counts import ResultCounter
from promptmill.workers.output.effective_rows import effective_results
from promptmill.workers.output.merge_parts import DroppedRows, PartRows, resolve_rows, union_rows
from promptmill.workers.ports.google import Bucket


def settle(bucket: Bucket, run: str, shard: int, attempt: int) -> Settled:
    """Write down the files that hold one final state for every row of the shard, and what they add up to."""
    name = names.shard(run, shard, attempt) + "settled.json"
    return records.get_or_create(
        bucket, name, Settled, lambda: _settle_attempt(bucket, run, shard, attempt)
    )


def _settle_attempt(bucket: Bucket, run: str, shard: int, attempt: int) -> Settled:
    folder = names.shard(run, shard, attempt)
    manifest, plan = (
        records.get_fact(bucket, names.manifest(run), Manifest),
        records.get_fact(bucket, names.plan(run), Plan),
    )
    shard_plan = plan.shards[shard]
    ended = records.get_fact(bucket, folder + "ended.json", Ended)
    is_last = _is_last_attempt(bucket, manifest, attempt, ended)
    parts = records.get_fact(bucket, folder + "parts.json", Parts).part_numbers
    parsed = list(
        records.get_facts(
            bucket, ((names.parsed(run, shard, attempt, part), Parsed) for part in parts)
        )
    )
    resolution = resolve_rows(
        [
            PartRows(
                *map(
                    records.unpack_rows,
                    (part_facts.succeeded, part_facts.failed, part_facts.passing),
                )
            )
            for part_facts in parsed
        ],
        is_last,
    )
    files, counts, deferred = [], Counts(), resolution.retried
    for part, parsed_part, drop in zip(parts, parsed, resolution.drops, strict=True):
        packed_drops = records.pack_rows(drop.succeeded), records.pack_rows(drop.failed)
        files.append(ResultFile(names.results(run, shard, attempt, part), *packed_drops))
        if any(packed_drops):
            billed_rows = deferred & records.unpack_rows(parsed_part.failed)
            counts += _recount_part(
                bucket,
                files[-1],
                shard_plan,
                parsed_part.counts,
                drop,
                billed_rows,
                plan.price_thresholds,
            )
            deferred &= ~billed_rows
        else:
            counts += parsed_part.counts
    deduplicated = deduplication.load_deduplicated(bucket, run, shard, attempt, plan)
    reused = answer_reuse.load_reused(bucket, manifest, shard, attempt)
    unanswered_rows = UnansweredRows(
        bucket, manifest, shard, attempt, plan, resolution, ended, is_last, deduplicated
    )
    unanswered_rows.write_results(
        [part for part, one in zip(parts, parsed, strict=True) if one.unkeyed], parts
    )
    deduplicated_count = unanswered_rows.write_deduplicated(files, parts)
    return Settled(
        files=files + unanswered_rows.files + [ResultFile(name) for name in reused.files],
        counts=counts + unanswered_rows.to_counts() + Counts(succeeded=reused.count),
        requests=unanswered_rows.wanted.bit_count()
        + len(unanswered_rows.deduplicated)
        + reused.count,
        at=records.current_time(),
        again=records.pack_rows(unanswered_rows.retried_rows),
        retried=unanswered_rows.retried_rows.bit_count(),
        raised=records.pack_rows(_token_limit_rows(parsed, unanswered_rows)),
        repaired=records.pack_rows(
            _record_feedback(
                bucket,
                (run, shard, attempt),
                dict(zip(parts, parsed, strict=True)),
                unanswered_rows,
            )
        ),
        copies=deduplicated_count,
        reused=reused.count,
    )


def _token_limit_rows(parsed: list[Parsed], unanswered_rows: UnansweredRows) -> int:
    """The rows of the next attempt that get more tokens: they were cut off in this one, or in one before."""
    rows = union_rows(
        [
            unanswered_rows.adjustments.token_limit.rows,
            unanswered_rows.cut_off,
            *(records.unpack_rows(parsed_part.cut_off) for parsed_part in parsed),
        ]
    )
    return unanswered_rows.deduplicated.expand_rows(rows) & unanswered_rows.retried_rows


def _record_feedback(
    bucket: Bucket,
    attempt_ref: tuple[str, int, int],
    parsed: dict[int, Parsed],
    unanswered_rows: UnansweredRows,
) -> int:
    """The rows of the next attempt that hear what was wrong with their answer, in this one or in one before."""
    invalid = {
        part: records.unpack_rows(parsed_part.invalid) for part, parsed_part in parsed.items()
    }
    previous = unanswered_rows.adjustments.feedback
    rows = (
        unanswered_rows.deduplicated.expand_rows(
            union_rows(
                [
                    previous.rows,
                    *(1 << row_offset for row_offset in unanswered_rows.invalid),
                    *invalid.values(),
                ]
            )
        )
        & unanswered_rows.retried_rows
    )
    if rows:
        parts = [part for part, one in invalid.items() if one & rows]
        schema_errors = chain(
            previous.errors.items(),
            _read_schema_errors(bucket, attempt_ref, parts, unanswered_rows.first_row),
            unanswered_rows.invalid.items(),
        )
        schema_feedback.write_feedback(
            bucket,
            *attempt_ref,
            (
                (row, error)
                for row, error in unanswered_rows.deduplicated.expand_errors(schema_errors)
                if rows >> row & 1
            ),
        )
    return rows


def _read_schema_errors(
    bucket: Bucket, attempt_ref: tuple[str, int, int], parts: list[int], first_row: int
) -> Iterator[tuple[int, str]]:
    """What was wrong with the answers of some parts that do not fit the response schema, by their rows' places."""
    for part in parts:
        for line in bucket.read(names.results(*attempt_ref, part)).split(b"\n")[:-1]:
            failed = _decode_failed(line)
            if failed.error and failed.error.reason == FailureReason.SCHEMA_INVALID:
                yield failed.row - first_row, failed.error.message


class _FailedResult(msgspec.Struct):
    row: int
    error: Error | None = None


_decode_failed = msgspec.json.Decoder(_FailedResult).decode


def _is_last_attempt(bucket: Bucket, manifest: Manifest, attempt: int, ended: Ended) -> bool:
    is_exhausted = attempt >= manifest.max_attempts and not ended.again
    return is_exhausted or bucket.find(names.cancelled(manifest.run)) is not None


def _recount_part(
    bucket: Bucket,
    file: ResultFile,
    shard_plan: ShardPlan,
    counts: Counts,
    drop: DroppedRows,
    billed_rows: int,
    thresholds: Sequence[int],
) -> Counts:
    """Count a part anew without the rows that are passed over.

    Of those, the ``billed_rows`` ones, which are put off, used tokens all the same; a row that is answered twice is paid for once.
    """
    counter, all_rows = ResultCounter(thresholds), (1 << shard_plan.requests) - 1
    for result in effective_results(bucket, file, shard_plan.first_row):
        counter.add_result(result)
    billed_file = ResultFile(
        file.name, records.pack_rows(all_rows), records.pack_rows(all_rows & ~billed_rows)
    )
    for result in (
        effective_results(bucket, billed_file, shard_plan.first_row) if billed_rows else ()
    ):
        counter.meter.add_usage(result.usage)
    return msgspec.structs.replace(
        counter.to_counts(),
        duplicates=counts.duplicates + drop.duplicates,
        unknown=counts.unknown,
        unreadable=counts.unreadable,
    )
