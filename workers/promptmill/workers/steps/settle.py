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
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.results import Error
from promptmill.workers.attempts import answer_reuse, deduplication, schema_feedback
from promptmill.workers.attempts.unanswered import Rest
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Counts, Ended, Parsed, Parts, Plan, ResultFile, Settled, ShardPlan
from promptmill.workers.output import schema_validation
from promptmill.workers.output.counts import Tally
from promptmill.workers.output.effective_rows import kept_results
from promptmill.workers.output.merge_parts import Drop, PartRows, resolve, union
from promptmill.workers.ports.google import Bucket


def settle(bucket: Bucket, run: str, index: int, attempt: int) -> Settled:
    """Write down the files that hold one final state for every row of the shard, and what they add up to."""
    name = names.shard(run, index, attempt) + "settled.json"
    return records.once(bucket, name, Settled, lambda: _settle(bucket, run, index, attempt))


def _settle(bucket: Bucket, run: str, index: int, attempt: int) -> Settled:
    folder = names.shard(run, index, attempt)
    manifest, plan = records.get(bucket, names.manifest(run), Manifest), records.get(bucket, names.plan(run), Plan)
    rows = plan.shards[index]
    ended = records.get(bucket, folder + "ended.json", Ended)
    last = _is_last(bucket, manifest, attempt, ended)
    parts = records.get(bucket, folder + "parts.json", Parts).numbers
    parsed = list(records.get_each(bucket, ((names.parsed(run, index, attempt, part), Parsed) for part in parts)))
    resolution = resolve([PartRows(*map(records.unpack, (p.succeeded, p.failed, p.passing))) for p in parsed], last)
    files, counts, put_off = [], Counts(), resolution.again
    for part, one, drop in zip(parts, parsed, resolution.drops, strict=True):
        packed = records.pack(drop.succeeded), records.pack(drop.failed)
        files.append(ResultFile(names.results(run, index, attempt, part), *packed))
        if any(packed):
            paid = put_off & records.unpack(one.failed)
            counts += _recount(bucket, files[-1], rows, one.counts, drop, paid, plan.thresholds)
            put_off &= ~paid
        else:
            counts += one.counts
    same = deduplication.load(bucket, run, index, attempt, plan)
    reused = answer_reuse.load(bucket, manifest, index, attempt)
    rest = Rest(bucket, manifest, index, attempt, plan, resolution, ended, last, same)
    rest.write([part for part, one in zip(parts, parsed, strict=True) if one.unkeyed], parts)
    copied = rest.write_copies(files, parts)
    return Settled(
        files=files + rest.files + [ResultFile(name) for name in reused.files],
        counts=counts + rest.counts() + Counts(succeeded=reused.count),
        requests=rest.wanted.bit_count() + len(rest.copies) + reused.count,
        at=records.now(),
        again=records.pack(rest.again),
        retried=rest.again.bit_count(),
        raised=records.pack(_raised(parsed, rest)),
        repaired=records.pack(_repaired(bucket, (run, index, attempt), dict(zip(parts, parsed, strict=True)), rest)),
        copies=copied,
        reused=reused.count,
    )


def _raised(parsed: list[Parsed], rest: Rest) -> int:
    """The rows of the next attempt that get more tokens: they were cut off in this one, or in one before."""
    rows = union([rest.mended.budget.rows, rest.cut_off, *(records.unpack(one.cut_off) for one in parsed)])
    return rest.copies.along(rows) & rest.again


def _repaired(bucket: Bucket, place: tuple[str, int, int], parsed: dict[int, Parsed], rest: Rest) -> int:
    """The rows of the next attempt that hear what was wrong with their answer, in this one or in one before."""
    invalid = {part: records.unpack(one.invalid) for part, one in parsed.items()}
    before = rest.mended.repair
    rows = rest.copies.along(union([before.rows, *(1 << row for row in rest.invalid), *invalid.values()])) & rest.again
    if rows:
        parts = [part for part, one in invalid.items() if one & rows]
        told = chain(before.errors.items(), _errors(bucket, place, parts, rest.first_row), rest.invalid.items())
        schema_feedback.keep(bucket, *place, ((row, error) for row, error in rest.copies.told(told) if rows >> row & 1))
    return rows


def _errors(bucket: Bucket, place: tuple[str, int, int], parts: list[int], first_row: int) -> Iterator[tuple[int, str]]:
    """What was wrong with the answers of some parts that do not fit the response schema, by their rows' places."""
    for part in parts:
        for line in bucket.read(names.results(*place, part)).split(b"\n")[:-1]:
            failed = _decode_failed(line)
            if failed.error and failed.error.reason == schema_validation.REASON:
                yield failed.row - first_row, failed.error.message


class _Failed(msgspec.Struct):
    row: int
    error: Error | None = None


_decode_failed = msgspec.json.Decoder(_Failed).decode


def _is_last(bucket: Bucket, manifest: Manifest, attempt: int, ended: Ended) -> bool:
    has_had_all = attempt >= manifest.max_attempts and not ended.again
    return has_had_all or bucket.find(names.cancelled(manifest.run)) is not None


def _recount(
    bucket: Bucket, file: ResultFile, rows: ShardPlan, counts: Counts, drop: Drop, paid: int, thresholds: Sequence[int]
) -> Counts:
    """Count a part anew without the rows that are passed over.

    Of those, the ``paid`` ones, which are put off, used tokens all the same; a row that is answered twice is paid for once.
    """
    tally, everyone = Tally(thresholds), (1 << rows.requests) - 1
    for result in kept_results(bucket, file, rows.first_row):
        tally.add(result)
    others = ResultFile(file.name, records.pack(everyone), records.pack(everyone & ~paid))
    for result in kept_results(bucket, others, rows.first_row) if paid else ():
        tally.meter.add(result.usage)
    return msgspec.structs.replace(
        tally.counts(),
        duplicates=counts.duplicates + drop.duplicates,
        unknown=counts.unknown,
        unreadable=counts.unreadable,
    )
