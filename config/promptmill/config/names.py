"""Names of the objects in the bucket, and of jobs.

runs/<run>/run.json                       the manifest of the run
runs/<run>/cut.json                       the batches of a pool that make up the run
runs/<run>/cut-done                       the run holds all of its batches
runs/<run>/chunks/<chunk>                 the requests of one message
runs/<run>/seal.json                      the number of chunks: the input is complete
runs/<run>/answered/<shard>               hashes of answered requests, for later runs
runs/<run>/plan.json                      the rows of each shard
runs/<run>/aborted.json                   the run is never submitted, and why
runs/<run>/cancelled.json                 the run ends early, and why
runs/<run>/shards/<shard>/<attempt>/
    input.jsonl                           the input file of the job
    input.json                            the input file is complete
    copies.json                           omitted rows: duplicates of other requests
    reused.json                           omitted rows: answered by an earlier run
    intent.json                           the lease on creating the job
    job.json                              the name of the job
    ended.json                            how the job ended
    parts.json                            the ranges of output, parsed concurrently
    results/<part>.jsonl                  results of one part
    results/{rest,last}-<part>-<n>.jsonl  results of rows without an answer
    results/reused-<hash>.jsonl           answers of earlier runs
    unkeyed/<part>.jsonl                  answers of one part without a key
    parsed/<part>.json                    counts of one part
    repairs.json                          schema errors of answers requested again
    settled.json                          one final state for every row of the shard
    delivered/<sink>-<part>.json          one part is in one sink
    late.json                             how an abandoned job ended
    harvested.json                        the number of late answers
    output/…                              the output of the job
runs/<run>/gathered/<sink>/<part>.jsonl   rows for a sink that loads all at once
runs/<run>/late/<part>.jsonl              answers of abandoned jobs
runs/<run>/report.json                    the final report: the run is done
runs/<run>/callbacks/<callback>.json      one callback has been sent
pools/<pool>/<options>/<batch>            prompts of a pool that are in no complete run
cuts/<pool>/<options>/<number>.json       the batches of one run
done/<kind>/<run>                         a run of a model and schema has answers
dead/<step>                               dead letter: a step that needs an operator
given-up/<run>/<shard>/<attempt>          an abandoned job that may still end
open/<run>                                the run is not done

No name is the folder of another: some stores cannot hold both.
"""

import hashlib
import re

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,61}")
POOL = re.compile(r"[a-z][a-z0-9-]{0,62}")
BATCH = re.compile(r"[a-z0-9]{1,64}")
STEP_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}")
OPEN = "open/"
ABANDONED_JOBS = "given-up/"
DEAD = "dead/"
DONE = "done/"
POOLS = "pools/"
CUTS = "cuts/"
RESERVED_FOLDERS = ("runs/", OPEN, DEAD, DONE, POOLS, CUTS)
"""Folders of Promptmill's own objects. No sink can write there."""


def check_run(run: str) -> str:
    """Return a run's id; raises ValueError if it could escape its folder."""
    if not RUN_ID.fullmatch(run):
        raise ValueError(f"not a run id: {run[:80]!r}")
    return run


def open_marker(run: str) -> str:
    """Name of the marker of a run that is not done."""
    return OPEN + check_run(run)


def dead_letter(step: str) -> str:
    """Name of the dead letter of a step."""
    if not STEP_ID.fullmatch(step):
        raise ValueError(f"not a step id: {step[:80]!r}")
    return DEAD + step


def all_done(kind: str) -> str:
    """Folder of the markers of completed runs of one kind, with a final slash."""
    return f"{DONE}{kind}/"


def done(kind: str, run: str) -> str:
    """Name of the marker of a completed run with answers."""
    return all_done(kind) + check_run(run)


def batch(pool: str, options: str, batch_id: str) -> str:
    """Name of one batch of a pool's prompts; raises ValueError."""
    if not BATCH.fullmatch(batch_id):
        raise ValueError(f"not a batch id: {batch_id[:80]!r}")
    return f"{POOLS}{_pool(pool, options)}/{batch_id}"


def cuts(pool: str, options: str) -> str:
    """Folder of the cuts of a pool with these options, with a final slash."""
    return f"{CUTS}{_pool(pool, options)}/"


def cut(pool: str, options: str, number: int) -> str:
    """Name of the fact that lists the batches of the pool's run ``number``."""
    return f"{cuts(pool, options)}{check_number(number):08d}.json"


def cut_of(run: str) -> str:
    """Name of the fact that lists the batches of a run."""
    return folder(run) + "cut.json"


def cut_done(run: str) -> str:
    """Name of the fact that a run holds all of its batches."""
    return folder(run) + "cut-done"


def check_pool(pool: str) -> str:
    """Return the name of a pool; raises ValueError if names or labels cannot hold it."""
    if not isinstance(pool, str) or not POOL.fullmatch(pool):
        raise ValueError(
            "a pool name has 1 to 63 characters of a-z, 0-9 and -, and starts with a letter, "
            f"not {str(pool)[:80]!r}"
        )
    return pool


def _pool(pool: str, options: str) -> str:
    if not BATCH.fullmatch(options):
        raise ValueError(f"not a hash of options: {options[:80]!r}")
    return f"{check_pool(pool)}/{options}"


def folder(run: str) -> str:
    """Folder of a run, with a final slash."""
    return f"runs/{check_run(run)}/"


def manifest(run: str) -> str:
    """Name of the manifest of a run."""
    return folder(run) + "run.json"


def chunk(run: str, index: int) -> str:
    """Name of a chunk. ``index`` counts from 0."""
    return f"{folder(run)}chunks/{check_number(index):08d}"


def seal(run: str) -> str:
    """Name of the seal."""
    return folder(run) + "seal.json"


def plan(run: str) -> str:
    """Name of the shard plan."""
    return folder(run) + "plan.json"


def aborted(run: str) -> str:
    """Name of the fact that the run is never submitted."""
    return folder(run) + "aborted.json"


def cancelled(run: str) -> str:
    """Name of the fact that the run ends early."""
    return folder(run) + "cancelled.json"


def gathered(run: str, sink: str, part: str) -> str:
    """Name of the rows of one part, for a sink that loads all rows at once."""
    return f"{folder(run)}gathered/{sink}/{part}.jsonl"


def late_folder(run: str) -> str:
    """Folder of the late answers of a run, with a final slash."""
    return folder(run) + "late/"


def late(run: str, shard_number: int, attempt: int, part: int) -> str:
    """Name of the late answers of one part."""
    numbers = f"{check_number(shard_number):04d}-{check_number(attempt)}-{check_number(part):05d}"
    return f"{late_folder(run)}{numbers}.jsonl"


def abandoned_job(run: str, shard_number: int, attempt: int) -> str:
    """Name of the marker of an abandoned job that may still end."""
    return f"{ABANDONED_JOBS}{check_run(run)}/{check_number(shard_number)}/{check_number(attempt)}"


def report(run: str) -> str:
    """Name of the final report."""
    return folder(run) + "report.json"


def callback(run: str, callback_id: str) -> str:
    """Name of the fact that a callback, such as ``link0``, has been sent."""
    return f"{folder(run)}callbacks/{callback_id}.json"


def shard(run: str, shard_number: int, attempt: int) -> str:
    """Folder of one attempt of a shard, with a final slash."""
    return f"{folder(run)}shards/{check_number(shard_number):04d}/{check_number(attempt)}/"


def results(run: str, shard_number: int, attempt: int, part: int) -> str:
    """Name of the results of one part."""
    return f"{shard(run, shard_number, attempt)}results/{check_number(part):05d}.jsonl"


def unanswered_results(
    run: str,
    shard_number: int,
    attempt: int,
    first_part: int,
    file_number: int,
    *,
    is_last_attempt: bool,
) -> str:
    """Name of a file of results of rows that no part answers.

    ``first_part`` is the first part that counts. The last attempt has other rows than
    the attempts before, so its files have names of their own.
    """
    kind = "last" if is_last_attempt else "rest"
    file_name = f"{kind}-{check_number(first_part)}-{check_number(file_number)}"
    return f"{shard(run, shard_number, attempt)}results/{file_name}.jsonl"


def unkeyed(run: str, shard_number: int, attempt: int, part: int) -> str:
    """Name of the answers of one part that came back without a key."""
    return f"{shard(run, shard_number, attempt)}unkeyed/{check_number(part):05d}.jsonl"


def parsed(run: str, shard_number: int, attempt: int, part: int) -> str:
    """Name of the counts of one part."""
    return f"{shard(run, shard_number, attempt)}parsed/{check_number(part):05d}.json"


def deduplicated_rows(run: str, shard_number: int, attempt: int) -> str:
    """Name of the list of omitted rows: duplicates of other requests."""
    return shard(run, shard_number, attempt) + "copies.json"


def all_answered(run: str) -> str:
    """Folder of the hashes of a run's answered requests, with a final slash."""
    return folder(run) + "answered/"


def answered(run: str, shard_number: int) -> str:
    """Name of the hashes of a shard's answered requests."""
    return f"{all_answered(run)}{check_number(shard_number):04d}"


def reused(run: str, shard_number: int) -> str:
    """Name of the list of omitted rows: answered by an earlier run."""
    return shard(run, shard_number, 1) + "reused.json"


def reused_results(run: str, shard_number: int, content: str) -> str:
    """Name of a file of reused answers. ``content`` is the hash of its content."""
    return f"{shard(run, shard_number, 1)}results/reused-{content}.jsonl"


def schema_feedback(run: str, shard_number: int, attempt: int) -> str:
    """Name of the schema errors of answers that are requested again."""
    return shard(run, shard_number, attempt) + "repairs.json"


def delivered(run: str, shard_number: int, attempt: int, sink: int, part: int) -> str:
    """Name of the fact that one part is in one sink."""
    file_name = f"{check_number(sink):02d}-{check_number(part):05d}.json"
    return f"{shard(run, shard_number, attempt)}delivered/{file_name}"


def check_number(value: int) -> int:
    """Return a number from a message; raises ValueError if it is none or negative."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"not a row, shard, attempt or part number: {str(value)[:80]!r}")
    return value


def tag(run: str) -> str:
    """Return the tag that marks a row of output as belonging to ``run``."""
    return "r" + hashlib.sha256(run.encode()).hexdigest()[:10]


def deployment_id(bucket_url: str) -> str:
    """Return the label value of all jobs of one deployment (one bucket folder)."""
    return hashlib.sha256(bucket_url.encode()).hexdigest()[:16]


def display_name(run: str, shard_number: int, attempt: int) -> str:
    """Return a job's display name.

    Every attempt to create the job uses the same name, so that a lost job can be found.
    """
    return f"promptmill-{run}-s{shard_number:04d}-a{attempt}"
