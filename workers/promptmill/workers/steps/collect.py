"""Finds the output of a job that ended, and divides it into parts."""

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
"""Several are numbered: before the ending, as the API documents it for other models, or after it, as some exporters do."""
_LATE_OUTPUT_SECONDS = 300.0
"""Seconds for which the final output of a job that has answers may be late before its absence is believed."""
_STOPPED_OUTPUT_SECONDS = 20.0
"""The same for a job that was stopped while it ran and does not say whether it has answers."""
_NO_OUTPUT_CODES = frozenset({3, 7, 9})
"""google.rpc codes of a failed job that has no answers: the importer refused its file, or it could not reach its bucket."""
_QUIET_SECONDS = 5.0
"""Seconds after which no further file is expected beside several."""
_RETRY_SECONDS = 3.0


def collect(attempt: AttemptFolder, part_bytes: int) -> Parts | Wait:
    """Write down the ranges of the job's output that are to be parsed; none without output.

    The final ``predictions*.jsonl`` count where there are any, else the files that were
    exported while the job ran. If a file was replaced since, all output is divided again
    into parts with further numbers: no two generations mix.
    """
    ranges = list_ranges(attempt, attempt.ended, part_bytes)
    if isinstance(ranges, Wait):
        return ranges
    parts = Parts(ranges, records.current_time())
    if attempt.parts.create(parts):
        return parts
    _divide_again(attempt.parts, ranges)
    return attempt.parts.get()


def _divide_again(fact: Fact[Parts], ranges: list[PartRange]) -> None:
    """Add the ``ranges`` to the recorded parts, if a file of these was replaced.

    A file that only went away may come back.
    """
    stored_parts = fact.find_object()
    recorded = fact.get()
    current_generations = {piece.name: piece.generation for piece in ranges}
    used_generations = {piece.name: piece.generation for piece in recorded.parts[recorded.first :]}
    if (
        stored_parts
        and used_generations.keys() <= current_generations.keys()
        and any(
            current_generations[name] != generation for name, generation in used_generations.items()
        )
    ):
        all_ranges = [*recorded.parts, *ranges]
        with suppress(Conflict):
            fact.replace(
                Parts(all_ranges, records.current_time(), first=len(recorded.parts)),
                stored_parts.generation,
            )


def list_ranges(
    attempt: AttemptFolder, end: Fact[Ended], part_bytes: int
) -> list[PartRange] | Wait:
    """Return the ranges of the output of a job; ``end`` is the fact of its end."""
    ended = end.get()
    files = _list_files(attempt, ended)
    final_files = [stored for stored in files if "/incremental_predictions/" not in stored.name]
    if _is_output_pending(attempt, end, ended.job, final_files):
        return Wait(_RETRY_SECONDS)
    return [piece for file in final_files or files for piece in split_file(file, part_bytes)]


def _is_output_pending(
    attempt: AttemptFolder, end: Fact[Ended], job: Job, final_files: list[ObjectInfo]
) -> bool:
    """Return whether more output is expected.

    It is while a job that has answers has no output, or one of several files is new.
    """
    if [stored.name.rpartition("/")[2] for stored in final_files] == ["predictions.jsonl"]:
        return False
    if final_files:
        newest = max(final_files, key=lambda stored: stored.updated)
        return attempt.object_age(newest) < _QUIET_SECONDS
    grace = _grace_seconds(job)
    stored_end = end.find_object() if grace else None
    return stored_end is not None and attempt.object_age(stored_end) < grace


def _grace_seconds(job: Job) -> float:
    """Return for how long output may be late of which nothing is there yet."""
    if job.state == "JOB_STATE_SUCCEEDED" or job.successful_count > 0:
        return _LATE_OUTPUT_SECONDS
    is_unclear = (
        job.successful_count < 0 and job.start_time > 0 and job.error_code not in _NO_OUTPUT_CODES
    )
    return _STOPPED_OUTPUT_SECONDS if is_unclear else 0.0


def split_file(file: ObjectInfo, part_bytes: int) -> list[PartRange]:
    """Return ranges of about ``part_bytes``; a line belongs to the range in which it starts."""
    parts = max(-(-file.size // part_bytes), 1)
    boundaries = [file.size * part // parts for part in range(parts + 1)]
    return [
        PartRange(file.name, file.generation, start, end)
        for start, end in pairwise(boundaries)
        if start < end
    ]


def _list_files(attempt: AttemptFolder, ended: Ended) -> list[ObjectInfo]:
    """List the output files in the directory that the job reports.

    The output folder of the attempt is listed when the job reports none, or a table,
    which was extracted there.
    """
    reported = ended.job.output_directory
    directory = (
        ""
        if reported.startswith(BIGQUERY_SCHEME)
        else reported.removeprefix(attempt.bucket.url + "/").rstrip("/")
    )
    folder = f"{directory}/" if directory else attempt.output_folder
    return [
        stored
        for stored in attempt.bucket.list(folder)
        if _PREDICTIONS.fullmatch(stored.name.rpartition("/")[2])
    ]
