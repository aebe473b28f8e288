"""Finds the output of a job that ended, and divides it into parts."""

import re
from contextlib import suppress
from itertools import pairwise

from promptmill.config import names
from promptmill.config.errors import Conflict
from promptmill.config.tables import BIGQUERY_SCHEME
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Ended, PartRange, Parts
from promptmill.workers.facts.step import Wait
from promptmill.workers.ports.google import Bucket, Job, ObjectInfo

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


def collect(bucket: Bucket, run: str, shard: int, attempt: int, part_bytes: int) -> Parts | Wait:
    """Write down which ranges of the job's output are to be parsed; none when there is no output.

    The final ``predictions*.jsonl`` are taken where there are any, else what was exported while the job ran. Output of
    which a file was replaced since then is divided anew, into parts with further numbers: no two generations mix.
    """
    folder = names.shard(run, shard, attempt)
    ranges = list_ranges(bucket, folder, "ended.json", part_bytes)
    if isinstance(ranges, Wait):
        return ranges
    parts = Parts(ranges, records.current_time())
    if records.create_fact(bucket, folder + "parts.json", parts):
        return parts
    _divide_again(bucket, folder + "parts.json", ranges)
    return records.get_fact(bucket, folder + "parts.json", Parts)


def _divide_again(bucket: Bucket, fact_name: str, ranges: list[PartRange]) -> None:
    """Add the ``ranges`` to those written down, if any file of these was replaced; one that only went away may come back."""
    stored_parts = bucket.find(fact_name)
    recorded = records.get_fact(bucket, fact_name, Parts)
    current_generations = {piece.name: piece.generation for piece in ranges}
    used_generations = {piece.name: piece.generation for piece in recorded.parts[recorded.first :]}
    if (
        stored_parts
        and used_generations.keys() <= current_generations.keys()
        and any(
            current_generations[name] != generation for name, generation in used_generations.items()
        )
    ):
        updated_parts = Parts(
            [*recorded.parts, *ranges], records.current_time(), first=len(recorded.parts)
        )
        with suppress(Conflict):
            bucket.replace(fact_name, records.encode_fact(updated_parts), stored_parts.generation)


def list_ranges(
    bucket: Bucket, folder: str, end_fact: str, part_bytes: int
) -> list[PartRange] | Wait:
    """Return the ranges of the output of the job whose end is the fact ``end_fact`` of its attempt's folder."""
    ended = records.get_fact(bucket, folder + end_fact, Ended)
    files = _list_files(bucket, folder, ended)
    final_files = [stored for stored in files if "/incremental_predictions/" not in stored.name]
    if _is_output_pending(bucket, folder, end_fact, ended.job, final_files):
        return Wait(_RETRY_SECONDS)
    return [piece for file in final_files or files for piece in split_file(file, part_bytes)]


def _is_output_pending(
    bucket: Bucket, folder: str, end_fact: str, job: Job, final_files: list[ObjectInfo]
) -> bool:
    """Whether output is still to come: none is there of a job that has answers, or one of several files is new."""
    if [stored.name.rpartition("/")[2] for stored in final_files] == ["predictions.jsonl"]:
        return False
    if final_files:
        newest = max(final_files, key=lambda stored: stored.updated)
        return records.object_age(bucket, newest, folder + "clock") < _QUIET_SECONDS
    grace = _grace_seconds(job)
    stored_end = bucket.find(folder + end_fact) if grace else None
    return (
        stored_end is not None and records.object_age(bucket, stored_end, folder + "clock") < grace
    )


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


def _list_files(bucket: Bucket, folder: str, ended: Ended) -> list[ObjectInfo]:
    """The output's directory is what the job says; below our own prefix it is looked for when the job says nothing,
    or wrote a table, which was extracted there."""
    reported = ended.job.output_directory
    directory = (
        ""
        if reported.startswith(BIGQUERY_SCHEME)
        else reported.removeprefix(bucket.url + "/").rstrip("/")
    )
    directory = directory or folder + "output"
    return [
        stored
        for stored in bucket.list(directory + "/")
        if _PREDICTIONS.fullmatch(stored.name.rpartition("/")[2])
    ]
