"""Reads results with parts of Google's answers, also of a run that did not keep them.

Then the parts come from the raw output files. A row without a line of its own there gets
none: its answer is that of an identical request, of an earlier run, or has no key.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from promptmill.config.errors import NotFound, PromptmillError
from promptmill.producers.contract.kept_parts import covers_all
from promptmill.producers.contract.results import Result
from promptmill.producers.requests.encode import WireKey, split_wire_key
from promptmill.workers.facts.fact import read_facts
from promptmill.workers.facts.records import PartRange, ResultFile
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder
from promptmill.workers.facts.snapshot import RunSnapshot
from promptmill.workers.output.answer_line import OutputLine, build_result, parse_objects
from promptmill.workers.output.effective_rows import effective_results
from promptmill.workers.output.lenient_json import decode_object
from promptmill.workers.output.line_ranges import read_lines
from promptmill.workers.output.part_selection import select_parts

_RowState = tuple[int, str]
_encode = msgspec.json.Encoder().encode


def kept_lines(run: RunFolder, snapshot: RunSnapshot, keep: Sequence[str]) -> Iterator[bytes]:
    """Yield results with the parts that ``keep`` names, as lines of JSON without newlines.

    Raises PromptmillError if the raw output is needed and no longer there.
    """
    kept = run.manifest.get().keep
    is_kept = covers_all(kept) or set(keep) <= set(kept)
    for attempt, file, first_row in settled_files(run, snapshot):
        parts = {} if is_kept else _read_parts(attempt, file, keep)
        for result in effective_results(run.bucket, file, first_row):
            found = parts.get((result.row, result.state)) if not is_kept else result.response
            response = select_parts(found, keep)
            yield _encode(msgspec.structs.replace(result, response=response))


def settled_files(
    run: RunFolder, snapshot: RunSnapshot
) -> Iterator[tuple[AttemptFolder, ResultFile, int]]:
    """Yield each result file of the settled attempts, with the first row of its shard."""
    shards = snapshot.plan.shards if snapshot.plan else []
    attempts = [
        run.attempt(*attempt_ref)
        for attempt_ref, attempt_facts in sorted(snapshot.attempts.items())
        if shards and attempt_facts.files is not None
    ]
    settled_facts = read_facts(run.bucket, (attempt.settled for attempt in attempts))
    for attempt, settled in zip(attempts, settled_facts, strict=True):
        for file in settled.files:
            yield attempt, file, shards[attempt.shard].first_row


def _read_parts(
    attempt: AttemptFolder, file: ResultFile, keep: Sequence[str]
) -> dict[_RowState, dict[str, Any]]:
    """Return the kept parts of the rows of a result file, by row and state."""
    parts = attempt.parts.get()
    for number in parts.part_numbers:
        if attempt.results(number) == file.name:
            return _read_range(attempt, parts.parts[number], keep)
    return {}


def _read_range(
    attempt: AttemptFolder, part_range: PartRange, keep: Sequence[str]
) -> dict[_RowState, dict[str, Any]]:
    selected: dict[_RowState, dict[str, Any]] = {}
    try:
        for _, raw in read_lines(attempt.bucket, part_range):
            for line, data in parse_objects(raw):
                result, parts = _read_line(line, data, keep)
                if parts:
                    selected.setdefault((result.row, result.state), parts)
    except NotFound:
        raise PromptmillError(
            f"the raw output {attempt.bucket.url}/{part_range.name} no longer exists, "
            "so its parts cannot be read; submit with keep next time"
        ) from None
    return selected


def _read_line(
    line: OutputLine | None, data: bytes, keep: Sequence[str]
) -> tuple[Result, dict[str, Any] | None]:
    key = split_wire_key((line and line.key) or "") or WireKey("", 0, "")
    if line is None:
        return Result("", 0, "failed"), None
    return build_result(line, data, key, 0), select_parts(decode_object(data).get("response"), keep)
