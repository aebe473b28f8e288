"""Gives every row of an attempt one final state or another attempt, when all parts are parsed.

- A row may be answered in several parts, or in none. In the order of parts, the first
  success counts, else the first failure.
- Answers without a key are matched to rows by their request.
- A row without any answer gets a failure that says why.
- Rows with a transient failure go to the next attempt, unless this is the last one. After
  some failures, its job is created only after a delay.
- A duplicate row gets the outcome of the row that was sent in its place.
"""

from collections.abc import Iterator
from itertools import chain

import msgspec

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.results import Error
from promptmill.workers.attempts import (
    answer_reuse,
    deduplication,
    retry_rules,
    schema_feedback,
)
from promptmill.workers.attempts.retry_rules import DelayLimits, RetryRules
from promptmill.workers.attempts.unanswered import UnansweredRows, UnreadableLines
from promptmill.workers.facts import records
from promptmill.workers.facts.fact import read_facts
from promptmill.workers.facts.records import Counts, Parsed, Plan, ResultFile, Settled
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.output.counts import ResultCounter
from promptmill.workers.output.effective_rows import effective_results
from promptmill.workers.output.merge_parts import (
    DroppedRows,
    PartRows,
    Resolution,
    resolve_rows,
)

_DEFAULT_LIMITS = DelayLimits()


def settle(attempt: AttemptFolder, limits: DelayLimits = _DEFAULT_LIMITS) -> Settled:
    """Record the files that hold one final state for every row, and their counts."""
    return attempt.settled.get_or_create(lambda: _settle_attempt(attempt, limits))


def _settle_attempt(attempt: AttemptFolder, limits: DelayLimits) -> Settled:
    manifest, plan = attempt.run.manifest.get(), attempt.run.plan.get()
    ended = attempt.ended.get()
    rules = retry_rules.load_rules(attempt, manifest, ended, limits)
    parts = attempt.parts.get().part_numbers
    part_facts = read_facts(attempt.bucket, map(attempt.parsed, parts))
    parsed = dict(zip(parts, part_facts, strict=True))
    resolution = resolve_rows([_part_rows(part, rules) for part in parsed.values()])
    files, counts = _count_parts(attempt, plan, parsed, resolution)
    deduplicated = deduplication.load_deduplicated(attempt, plan)
    reused = answer_reuse.load_reused(attempt, manifest)
    unanswered_rows = UnansweredRows(
        attempt,
        manifest,
        plan,
        resolution,
        ended,
        rules,
        deduplicated,
        _find_unreadable(attempt, parsed),
    )
    unanswered_rows.write_results([part for part in parts if parsed[part].unkeyed], parts)
    deduplicated_count = unanswered_rows.write_deduplicated(files, parts)
    retried_rows = unanswered_rows.retried_rows
    unbilled_rows = _unbilled_rows(parsed, unanswered_rows)
    return Settled(
        files=files + unanswered_rows.files + [ResultFile(name) for name in reused.files],
        counts=counts + unanswered_rows.to_counts() + Counts(succeeded=reused.count),
        requests=len(unanswered_rows.wanted) + len(unanswered_rows.deduplicated) + reused.count,
        at=records.current_time(),
        retried_rows=retried_rows.pack(),
        retried=len(retried_rows),
        raised_rows=_token_limit_rows(parsed, unanswered_rows).pack(),
        feedback_rows=_record_feedback(attempt, parsed, unanswered_rows).pack(),
        deduplicated=deduplicated_count,
        reused=reused.count,
        delay=rules.make_delay(retried_rows, unbilled_rows),
        unbilled_attempts=rules.count_unbilled(retried_rows, unbilled_rows),
    )


def _find_unreadable(attempt: AttemptFolder, parsed: dict[int, Parsed]) -> UnreadableLines:
    """Return how many lines name no row, and the place of the first one."""
    count = sum(parsed_part.counts.unreadable for parsed_part in parsed.values())
    for part, parsed_part in parsed.items():
        for offset in parsed_part.unreadable_at:
            name = attempt.parts.get().parts[part].name
            return UnreadableLines(count, f"byte {offset} of {attempt.bucket.url}/{name}")
    return UnreadableLines(count)


def _part_rows(parsed: Parsed, rules: RetryRules) -> PartRows:
    succeeded, failed = RowSet.unpack(parsed.succeeded), RowSet.unpack(parsed.failed)
    return PartRows(succeeded, failed, rules.select_rows(parsed))


def _unbilled_rows(parsed: dict[int, Parsed], unanswered_rows: UnansweredRows) -> RowSet:
    """Return the rows of the next attempt that failed before the model was asked."""
    parts = [RowSet.unpack(parsed_part.unbilled) for parsed_part in parsed.values()]
    rows = RowSet.union([*parts, unanswered_rows.unbilled.build()])
    return unanswered_rows.deduplicated.expand_rows(rows) & unanswered_rows.retried_rows


def _count_parts(
    attempt: AttemptFolder, plan: Plan, parsed: dict[int, Parsed], resolution: Resolution
) -> tuple[list[ResultFile], Counts]:
    """Return the result files of all parts, and the counts of their effective rows."""
    files, counts, deferred = [], Counts(), resolution.retried
    for (part, parsed_part), drop in zip(parsed.items(), resolution.drops, strict=True):
        files.append(ResultFile(attempt.results(part), drop.succeeded.pack(), drop.failed.pack()))
        if files[-1].has_drops:
            billed_rows = deferred & RowSet.unpack(parsed_part.failed)
            counts += _recount_part(attempt, plan, files[-1], parsed_part.counts, drop, billed_rows)
            deferred -= billed_rows
        else:
            counts += parsed_part.counts
    return files, counts


def _token_limit_rows(parsed: dict[int, Parsed], unanswered_rows: UnansweredRows) -> RowSet:
    """Return the rows of the next attempt that get a higher token limit.

    Their answer was cut off in this attempt or in an earlier one.
    """
    rows = RowSet.union(
        [
            unanswered_rows.adjustments.token_limit.rows,
            unanswered_rows.cut_off.build(),
            *(RowSet.unpack(parsed_part.cut_off) for parsed_part in parsed.values()),
        ]
    )
    return unanswered_rows.deduplicated.expand_rows(rows) & unanswered_rows.retried_rows


def _record_feedback(
    attempt: AttemptFolder, parsed: dict[int, Parsed], unanswered_rows: UnansweredRows
) -> RowSet:
    """Return the rows of the next attempt that get schema feedback, and store it.

    Their answer violated the schema in this attempt or in an earlier one.
    """
    invalid = {part: RowSet.unpack(parsed_part.invalid) for part, parsed_part in parsed.items()}
    previous = unanswered_rows.adjustments.feedback
    matched_rows = RowSet.of(unanswered_rows.invalid)
    invalid_rows = RowSet.union([previous.rows, matched_rows, *invalid.values()])
    deduplicated = unanswered_rows.deduplicated
    rows = deduplicated.expand_rows(invalid_rows) & unanswered_rows.retried_rows
    if rows:
        parts = [part for part, part_rows in invalid.items() if part_rows & rows]
        schema_errors = chain(
            previous.errors.items(),
            _read_schema_errors(attempt, parts, unanswered_rows.first_row),
            unanswered_rows.invalid.items(),
        )
        row_errors = deduplicated.expand_errors(schema_errors)
        schema_feedback.write_feedback(
            attempt, ((row, error) for row, error in row_errors if row in rows)
        )
    return rows


def _read_schema_errors(
    attempt: AttemptFolder, parts: list[int], first_row: int
) -> Iterator[tuple[int, str]]:
    """Yield the row offset and error of each answer in ``parts`` that violates the schema."""
    for part in parts:
        for line in attempt.bucket.read(attempt.results(part)).split(b"\n")[:-1]:
            failed = _decode_failed(line)
            if failed.error and failed.error.reason == FailureReason.SCHEMA_INVALID:
                yield failed.row - first_row, failed.error.message


class _FailedResult(msgspec.Struct):
    row: int
    error: Error | None = None


_decode_failed = msgspec.json.Decoder(_FailedResult).decode


def _recount_part(
    attempt: AttemptFolder,
    plan: Plan,
    file: ResultFile,
    counts: Counts,
    drop: DroppedRows,
    billed_rows: RowSet,
) -> Counts:
    """Count a part again without its dropped rows.

    Of these, ``billed_rows`` are retried, but their tokens are billed nevertheless. The
    tokens of a row that is answered twice count once.
    """
    shard_plan = plan.shards[attempt.shard]
    counter, all_rows = ResultCounter(plan.price_thresholds), RowSet.first(shard_plan.requests)
    for result in effective_results(attempt.bucket, file, shard_plan.first_row):
        counter.add_result(result)
    if billed_rows:
        billed_file = ResultFile(file.name, all_rows.pack(), (all_rows - billed_rows).pack())
        for result in effective_results(attempt.bucket, billed_file, shard_plan.first_row):
            counter.meter.add_usage(result.usage)
    return msgspec.structs.replace(
        counter.to_counts(),
        duplicates=counts.duplicates + drop.duplicates,
        unknown=counts.unknown,
        unreadable=counts.unreadable,
        unkept=counts.unkept,
        models=counts.models,
    )
