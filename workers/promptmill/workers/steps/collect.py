"""Finds the output of a job that ended, and divides it into parts."""

import re
from contextlib import suppress
from itertools import pairwise

from promptmill.config import names
from promptmill.config.errors import Conflict
from promptmill.config.tables import SCHEME
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Ended, PartRange, Parts
from promptmill.workers.facts.step import Wait
from promptmill.workers.ports.google import Bucket, Job, Stored

_PREDICTIONS = re.compile(r"predictions[^/]*\.jsonl(-\d+-of-\d+)?")
"""Several are numbered: before the ending, as the API documents it for other models, or after it, as some exporters do."""
_LATE = 300.0
"""Seconds for which the final output of a job that has answers may be late before its absence is believed."""
_UNSURE = 20.0
"""The same for a job that was stopped while it ran and does not say whether it has answers."""
_CLEAR_CODES = frozenset({3, 7, 9})
"""google.rpc codes of a failed job that has no answers: the importer refused its file, or it could not reach its bucket."""
_QUIET = 5.0
"""Seconds after which no further file is expected beside several."""
_PAUSE = 3.0


def collect(bucket: Bucket, run: str, index: int, attempt: int, part_bytes: int) -> Parts | Wait:
    """Write down which ranges of the job's output are to be parsed; none when there is no output.

    The final ``predictions*.jsonl`` are taken where there are any, else what was exported while the job ran. Output of
    which a file was replaced since then is divided anew, into parts with further numbers: no two generations mix.
    """
    folder = names.shard(run, index, attempt)
    ranges = output(bucket, folder, "ended.json", part_bytes)
    if isinstance(ranges, Wait):
        return ranges
    parts = Parts(ranges, records.now())
    if records.put(bucket, folder + "parts.json", parts):
        return parts
    _divide_anew(bucket, folder + "parts.json", ranges)
    return records.get(bucket, folder + "parts.json", Parts)


def _divide_anew(bucket: Bucket, fact: str, ranges: list[PartRange]) -> None:
    """Add the ``ranges`` to those written down, if any file of these was replaced; one that only went away may come back."""
    seen = bucket.find(fact)
    known = records.get(bucket, fact, Parts)
    now = {piece.name: piece.generation for piece in ranges}
    used = {piece.name: piece.generation for piece in known.parts[known.first :]}
    if seen and used.keys() <= now.keys() and any(now[name] != generation for name, generation in used.items()):
        anew = Parts([*known.parts, *ranges], records.now(), first=len(known.parts))
        with suppress(Conflict):
            bucket.replace(fact, records.encode(anew), seen.generation)


def output(bucket: Bucket, folder: str, end: str, part_bytes: int) -> list[PartRange] | Wait:
    """Return the ranges of the output of the job whose end is the fact ``end`` of its attempt's folder."""
    ended = records.get(bucket, folder + end, Ended)
    found = _output(bucket, folder, ended)
    final = [stored for stored in found if "/incremental_predictions/" not in stored.name]
    if _may_be_more(bucket, folder, end, ended.job, final):
        return Wait(_PAUSE)
    return [piece for file in final or found for piece in divide(file, part_bytes)]


def _may_be_more(bucket: Bucket, folder: str, end: str, job: Job, final: list[Stored]) -> bool:
    """Whether output is still to come: none is there of a job that has answers, or one of several files is new."""
    if [stored.name.rpartition("/")[2] for stored in final] == ["predictions.jsonl"]:
        return False
    if final:
        newest = max(final, key=lambda stored: stored.updated)
        return records.age(bucket, newest, folder + "clock") < _QUIET
    patience = _patience(job)
    ended = bucket.find(folder + end) if patience else None
    return ended is not None and records.age(bucket, ended, folder + "clock") < patience


def _patience(job: Job) -> float:
    """Return for how long output may be late of which nothing is there yet."""
    if job.state == "JOB_STATE_SUCCEEDED" or job.successful_count > 0:
        return _LATE
    unsure = job.successful_count < 0 and job.start_time > 0 and job.error_code not in _CLEAR_CODES
    return _UNSURE if unsure else 0.0


def divide(file: Stored, part_bytes: int) -> list[PartRange]:
    """Return ranges of about ``part_bytes``; a line belongs to the range in which it starts."""
    parts = max(-(-file.size // part_bytes), 1)
    cuts = [file.size * part // parts for part in range(parts + 1)]
    return [PartRange(file.name, file.generation, start, end) for start, end in pairwise(cuts) if start < end]


def _output(bucket: Bucket, folder: str, ended: Ended) -> list[Stored]:
    """The output's directory is what the job says; below our own prefix it is looked for when the job says nothing,
    or wrote a table, which was extracted there."""
    told = ended.job.output_directory
    directory = "" if told.startswith(SCHEME) else told.removeprefix(bucket.url + "/").rstrip("/")
    directory = directory or folder + "output"
    return [stored for stored in bucket.list(directory + "/") if _PREDICTIONS.fullmatch(stored.name.rpartition("/")[2])]
