"""Finds the output of a job that ended, and divides it into parts."""

import re
from itertools import pairwise

from promptmill.config import names
from promptmill.workers import facts
from promptmill.workers.facts import Ended, PartRange, Parts
from promptmill.workers.ports import Bucket, Stored
from promptmill.workers.steps.step import Wait

_PREDICTIONS = re.compile(r"predictions[^/]*\.jsonl")
_LATE = 300.0
"""Seconds for which the final output of a job that succeeded may be late before its absence is believed."""
_PAUSE = 3.0


def collect(bucket: Bucket, run: str, index: int, attempt: int, part_bytes: int) -> Parts | Wait:
    """Write down which ranges of the job's output are to be parsed; none when there is no output.

    The final ``predictions*.jsonl`` are taken where there are any, else what was exported while the job ran.
    """
    folder = names.shard(run, index, attempt)
    ended = facts.get(bucket, folder + "ended.json", Ended)
    found = _output(bucket, folder, ended)
    final = [stored for stored in found if "/incremental_predictions/" not in stored.name]
    if not final and ended.job.state == "JOB_STATE_SUCCEEDED" and _since_end(bucket, folder) < _LATE:
        return Wait(_PAUSE)
    ranges = [piece for file in final or found for piece in divide(file, part_bytes)]
    facts.put(bucket, folder + "parts.json", Parts(ranges, facts.now()))
    return facts.get(bucket, folder + "parts.json", Parts)


def _since_end(bucket: Bucket, folder: str) -> float:
    seen = bucket.find(folder + "ended.json")
    return facts.age(bucket, seen, folder + "clock") if seen else 0.0


def divide(file: Stored, part_bytes: int) -> list[PartRange]:
    """Return ranges of about ``part_bytes``; a line belongs to the range in which it starts."""
    parts = max(-(-file.size // part_bytes), 1)
    cuts = [file.size * part // parts for part in range(parts + 1)]
    return [PartRange(file.name, file.generation, start, end) for start, end in pairwise(cuts) if start < end]


def _output(bucket: Bucket, folder: str, ended: Ended) -> list[Stored]:
    """The output's directory is what the job says; below our own prefix it is looked for when the job says nothing."""
    directory = ended.job.output_directory.removeprefix(bucket.url + "/").rstrip("/") or folder + "output"
    return [stored for stored in bucket.list(directory + "/") if _PREDICTIONS.fullmatch(stored.name.rpartition("/")[2])]
