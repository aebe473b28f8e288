"""The folder of a run and the folders of its attempts: the name and type of every object.

runs/<run>/run.json                          the manifest of the run
runs/<run>/cut.json                          the batches of a pool that make up the run
runs/<run>/cut-done                          the run holds all of its batches
runs/<run>/chunks/<chunk>                    the requests of one message
runs/<run>/seal.json                         the number of chunks: the input is complete
runs/<run>/answered/<shard>                  hashes of answered requests, for later runs
runs/<run>/plan.json                         the rows of each shard
runs/<run>/aborted.json                      the run is never submitted, and why
runs/<run>/cancelled.json                    the run ends early, and why
runs/<run>/shards/<shard>/<attempt>/
    input.jsonl                              the input file of the job
    input.json                               the input file is complete
    copies.json                              omitted rows: duplicates of other requests
    reused.json                              omitted rows: answered by an earlier run
    intent.json                              the lease on creating the job
    job.json                                 the name of the job
    ended.json                               how the job ended
    parts.json                               the ranges of output, parsed concurrently
    results/<part>.jsonl                     results of one part
    results/{rest,last}-<part>-<n>.jsonl     results of rows that no part answers:
                                             "last" if no row is retried
    results/reused-<hash>.jsonl              answers of earlier runs
    unkeyed/<part>.jsonl                     answers of one part without a key
    parsed/<part>.json                       counts of one part
    repairs.json                             schema errors of answers requested again
    settled.json                             one final state for every row of the shard
    delivered/<sink>-<part>.json             one part is in one sink
    late.json                                how an abandoned job ended
    harvested.json                           the number of late answers
    output/…                                 the output of the job
runs/<run>/gathered/<sink>/<part>.jsonl      rows for a sink that loads all at once
runs/<run>/late/<part>.jsonl                 answers of abandoned jobs
runs/<run>/report.json                       the final report: the run is done
runs/<run>/callbacks/<callback>.json         one callback has been sent

No name is the folder of another: some stores cannot hold both.
"""

from typing import Generic, TypeVar

import msgspec

from promptmill.config import names
from promptmill.producers.contract.messages import Manifest, Seal
from promptmill.producers.contract.status import Report
from promptmill.workers.facts import records
from promptmill.workers.facts.fact import Fact
from promptmill.workers.facts.records import (
    Aborted,
    Called,
    Cancelled,
    Created,
    Cut,
    Delivered,
    Ended,
    Harvested,
    Input,
    Intent,
    Parsed,
    Parts,
    Plan,
    Settled,
)
from promptmill.workers.facts.row_lists import DeduplicatedRows, FeedbackErrors, ReusedRows
from promptmill.workers.ports.google import Bucket, ObjectInfo

T = TypeVar("T", bound=msgspec.Struct)

FIRST_ATTEMPT = 1


class _Folder:
    """A folder of the bucket; its ``path`` ends with a slash."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self.bucket = bucket
        self.path = path

    @property
    def url(self) -> str:
        """The folder's URL, with its final slash."""
        return f"{self.bucket.url}/{self.path}"

    def object_age(self, stored: ObjectInfo) -> float:
        """Return the age of an object in seconds, by the bucket's clock."""
        return records.object_age(self.bucket, stored, self.path + "clock")


class _FactFile(Generic[T]):
    """Declares a fact of a folder: the name of its file, and its type."""

    def __init__(self, file_name: str, fact_type: type[T]) -> None:
        self._file_name = file_name
        self._fact_type = fact_type

    def __get__(self, folder: _Folder, owner: type) -> Fact[T]:
        return Fact(folder.bucket, folder.path + self._file_name, self._fact_type)


class RunFolder(_Folder):
    """The folder of the run ``id``; raises ValueError for an invalid run id."""

    manifest = _FactFile("run.json", Manifest)
    cut = _FactFile("cut.json", Cut)
    seal = _FactFile("seal.json", Seal)
    plan = _FactFile("plan.json", Plan)
    aborted = _FactFile("aborted.json", Aborted)
    cancelled = _FactFile("cancelled.json", Cancelled)
    report = _FactFile("report.json", Report)

    def __init__(self, bucket: Bucket, run: str) -> None:
        super().__init__(bucket, f"runs/{names.check_run(run)}/")
        self.id = run

    def attempt(self, shard: int, number: int) -> "AttemptFolder":
        """Return the folder of one attempt of a shard."""
        return AttemptFolder(self, shard, number)

    def callback(self, callback_id: str) -> Fact[Called]:
        """Return the fact that a callback, such as ``link0``, has been sent."""
        return Fact(self.bucket, f"{self.path}callbacks/{callback_id}.json", Called)

    @property
    def open_marker(self) -> str:
        """Name of the marker of a run that is not done."""
        return names.OPEN + self.id

    @property
    def cut_done(self) -> str:
        """Name of the marker that the run holds all of its batches."""
        return self.path + "cut-done"

    @property
    def answered_folder(self) -> str:
        """Folder of the hashes of answered requests, with its final slash."""
        return self.path + "answered/"

    @property
    def late_folder(self) -> str:
        """Folder of the answers of abandoned jobs, with its final slash."""
        return self.path + "late/"

    def chunk(self, chunk_index: int) -> str:
        """Return the name of a chunk, counted from 0."""
        return f"{self.path}chunks/{names.check_number(chunk_index):08d}"

    def answered(self, shard: int) -> str:
        """Return the name of the hashes of the answered requests of a shard."""
        return f"{self.answered_folder}{names.check_number(shard):04d}"

    def gathered(self, sink: str, part: str) -> str:
        """Return the name of one part's rows for a sink that loads all at once."""
        return f"{self.path}gathered/{sink}/{part}.jsonl"


class AttemptFolder(_Folder):
    """The folder of attempt ``number`` of a shard; raises ValueError for a negative number."""

    input = _FactFile("input.json", Input)
    deduplicated = _FactFile("copies.json", DeduplicatedRows)
    reused = _FactFile("reused.json", ReusedRows)
    intent = _FactFile("intent.json", Intent)
    job = _FactFile("job.json", Created)
    ended = _FactFile("ended.json", Ended)
    parts = _FactFile("parts.json", Parts)
    repairs = _FactFile("repairs.json", FeedbackErrors)
    settled = _FactFile("settled.json", Settled)
    late_end = _FactFile("late.json", Ended)
    harvested = _FactFile("harvested.json", Harvested)

    def __init__(self, run: RunFolder, shard: int, number: int) -> None:
        shard, number = names.check_number(shard), names.check_number(number)
        super().__init__(run.bucket, f"{run.path}shards/{shard:04d}/{number}/")
        self.run, self.shard, self.number = run, shard, number

    def __str__(self) -> str:
        """Return ``run/shard/attempt``."""
        return f"{self.run.id}/{self.shard}/{self.number}"

    @property
    def is_first(self) -> bool:
        """Whether this is the first attempt of its shard."""
        return self.number == FIRST_ATTEMPT

    @property
    def previous(self) -> "AttemptFolder":
        """The folder of the attempt before."""
        return self.run.attempt(self.shard, self.number - 1)

    @property
    def display_name(self) -> str:
        """The job's display name. All attempts to create it use this name, to find a lost job."""
        return f"promptmill-{self.run.id}-s{self.shard:04d}-a{self.number}"

    @property
    def input_file(self) -> str:
        """Name of the input file of the job."""
        return self.path + "input.jsonl"

    @property
    def output_folder(self) -> str:
        """Folder of the output of the job, with its final slash."""
        return self.path + "output/"

    @property
    def abandoned_marker(self) -> str:
        """Name of the marker of an abandoned job that may still end."""
        return names.ABANDONED_JOBS + str(self)

    def parsed(self, part: int) -> Fact[Parsed]:
        """Return the fact of the counts of one part."""
        return Fact(self.bucket, f"{self.path}parsed/{_part_name(part)}.json", Parsed)

    def parsed_of(self, results_file: str) -> Fact[Parsed]:
        """Return the fact of the counts of the part that wrote this file of results."""
        part_name = results_file.rpartition("/")[2].removesuffix(".jsonl")
        return Fact(self.bucket, f"{self.path}parsed/{part_name}.json", Parsed)

    def delivered(self, sink: int, part: int) -> Fact[Delivered]:
        """Return the fact that one part is in one sink."""
        delivery = f"{names.check_number(sink):02d}-{_part_name(part)}"
        return Fact(self.bucket, f"{self.path}delivered/{delivery}.json", Delivered)

    def results(self, part: int) -> str:
        """Return the name of the results of one part."""
        return self.results_file(_part_name(part))

    def results_file(self, file_name: str) -> str:
        """Return the name of a file of results that is not of one part, such as ``rest-0-1``."""
        return f"{self.path}results/{file_name}.jsonl"

    def unkeyed(self, part: int) -> str:
        """Return the name of one part's answers without a key."""
        return f"{self.path}unkeyed/{_part_name(part)}.jsonl"

    def late(self, part: int) -> str:
        """Return the name of one part of the answers of an abandoned job."""
        file_name = f"{self.shard:04d}-{self.number}-{_part_name(part)}"
        return f"{self.run.late_folder}{file_name}.jsonl"


def _part_name(part: int) -> str:
    return f"{names.check_number(part):05d}"
