"""Finds the output of an ended job and divides it into parts.

The final ``predictions*.jsonl`` count, or without them the files that were exported while the
job ran. After a failed job, both count: its export may have stopped in the middle, and its
answers are billed. If a recorded file has been replaced, all output is divided again. The new parts
continue the numbering, so that two generations never mix.
"""

import re
from contextlib import suppress
from itertools import pairwise

from promptmill.config.errors import Conflict
from promptmill.config.tables import BIGQUERY_SCHEME
from promptmill.workers.facts import records
from promptmill.workers.facts.fact import Fact
from promptmill.workers.facts.records import Ended, PartRange, Parts
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.facts.step import Wait
from promptmill.workers.ports.google import Job, ObjectInfo

_PREDICTIONS = re.compile(r"predictions[^/]*\.jsonl(-\d+-of-\d+)?")
"""Output files of a job. If there are several, they are numbered.

The number is before the extension, as the API documents for other models, or after it, as
some exporters write it.
"""
_LATE_OUTPUT_SECONDS = 300.0
"""Seconds to wait for the final output of a job that has answers."""
_STOPPED_OUTPUT_SECONDS = 20.0
"""Seconds to wait for output of a job that was stopped and does not report its answers."""
_NO_OUTPUT_CODES = frozenset({3, 7, 9})
"""google.rpc codes of failed jobs without answers.

The importer refused the input file, or the job could not access its bucket.
"""
_EXPORT_FAILURE = "Failed to export"
"""The start of the error of a job that answered its rows, and then failed to write them."""
_QUIET_SECONDS = 5.0
"""Numbered output is complete when its newest file is this many seconds old."""
_RETRY_SECONDS = 3.0
_FAILED = "JOB_STATE_FAILED"


def collect(attempt: AttemptFolder, part_bytes: int) -> Parts | Wait:
    """Record the ranges of the job's output to parse; there are none without output."""
    ranges = list_ranges(attempt, attempt.ended, part_bytes)
    if isinstance(ranges, Wait):
        return ranges
    parts = Parts(ranges, records.current_time())
    if attempt.parts.create(parts):
        return parts
    _divide_again(attempt.parts, ranges)
    return attempt.parts.get()


def _divide_again(fact: Fact[Parts], ranges: list[PartRange]) -> None:
    """Append ``ranges`` to the recorded parts if a recorded file was replaced.

    A file that is missing does not count as replaced: it may come back.
    """
    stored_parts = fact.find_object()
    recorded = fact.get()
    if not stored_parts or not _has_replaced_file(recorded, ranges):
        return
    all_ranges = [*recorded.parts, *ranges]
    parts = Parts(all_ranges, records.current_time(), first=len(recorded.parts))
    with suppress(Conflict):
        fact.replace(parts, stored_parts.generation)


def _has_replaced_file(recorded: Parts, ranges: list[PartRange]) -> bool:
    current = {piece.name: piece.generation for piece in ranges}
    used = {piece.name: piece.generation for piece in recorded.parts[recorded.first :]}
    is_complete = used.keys() <= current.keys()
    return is_complete and any(current[name] != used[name] for name in used)


def list_ranges(
    attempt: AttemptFolder, end: Fact[Ended], part_bytes: int
) -> list[PartRange] | Wait:
    """Return the ranges of a job's output; ``end`` is the fact that the job ended."""
    ended = end.get()
    files = _list_files(attempt, ended)
    final_files = [stored for stored in files if "/incremental_predictions/" not in stored.name]
    if _is_output_pending(attempt, end, ended.job, final_files):
        return Wait(_RETRY_SECONDS)
    counted_files = files if ended.job.state == _FAILED else final_files or files
    return [piece for file in counted_files for piece in split_file(file, part_bytes)]


def _is_output_pending(
    attempt: AttemptFolder, end: Fact[Ended], job: Job, final_files: list[ObjectInfo]
) -> bool:
    """Return whether a job with answers has no output yet, or its newest file is recent."""
    if [stored.name.rpartition("/")[2] for stored in final_files] == ["predictions.jsonl"]:
        return False
    if final_files:
        newest = max(final_files, key=lambda stored: stored.updated)
        return attempt.object_age(newest) < _QUIET_SECONDS
    grace = _grace_seconds(job)
    stored_end = end.find_object() if grace else None
    return stored_end is not None and attempt.object_age(stored_end) < grace


def _grace_seconds(job: Job) -> float:
    """Return the seconds to wait for output when there is none yet."""
    is_answered = job.state == "JOB_STATE_SUCCEEDED" or job.successful_count > 0
    if is_answered or job.error_message.startswith(_EXPORT_FAILURE):
        return _LATE_OUTPUT_SECONDS
    is_unclear = (
        job.successful_count < 0 and job.start_time > 0 and job.error_code not in _NO_OUTPUT_CODES
    )
    return _STOPPED_OUTPUT_SECONDS if is_unclear else 0.0


def split_file(file: ObjectInfo, part_bytes: int) -> list[PartRange]:
    """Return ranges of about ``part_bytes``. A line belongs to the range it starts in."""
    parts = max(-(-file.size // part_bytes), 1)
    boundaries = [file.size * part // parts for part in range(parts + 1)]
    return [
        PartRange(file.name, file.generation, start, end)
        for start, end in pairwise(boundaries)
        if start < end
    ]


def _list_files(attempt: AttemptFolder, ended: Ended) -> list[ObjectInfo]:
    folders = _find_folders(attempt, ended.job)
    files = {file.name: file for folder in folders for file in attempt.bucket.list(folder)}
    return [file for file in files.values() if _PREDICTIONS.fullmatch(file.name.rpartition("/")[2])]


def _find_folders(attempt: AttemptFolder, job: Job) -> list[str]:
    """Return the folders to search. A failed job may have written elsewhere than it reports."""
    reported = _find_folder(attempt, job.output_directory)
    return [reported, attempt.output_folder] if job.state == _FAILED else [reported]


def _find_folder(attempt: AttemptFolder, reported: str) -> str:
    if reported.startswith(BIGQUERY_SCHEME):
        return attempt.output_folder  # tables are extracted there
    directory = reported.removeprefix(attempt.bucket.url + "/").rstrip("/")
    return f"{directory}/" if directory else attempt.output_folder
