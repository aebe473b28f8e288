"""Where everything about a run lies in the bucket, and what its jobs are called.

runs/<run>/run.json                          the run as opened
runs/<run>/cut.json                          which batches of a pool it was made of
runs/<run>/cut-done                          that it holds all of these
runs/<run>/chunks/<chunk>                    the requests of one message
runs/<run>/seal.json                         how many chunks there are
runs/<run>/answered/<shard>                  hashes of what the rows of a shard were answered, for later runs
runs/<run>/plan.json                         which rows make up which shard
runs/<run>/aborted.json                      the run will never be submitted, and why
runs/<run>/cancelled.json                    the run is to end with what it has, and why
runs/<run>/shards/<shard>/<attempt>/
    input.jsonl                              what Vertex reads
    input.json                               that the input is whole
    copies.json                              which rows it leaves out, as another one of it asks the same
    reused.json                              which rows it leaves out, as an earlier run has their answer
    intent.json                              somebody is about to create the job (the lease on that step)
    job.json                                 the job's name
    ended.json                               how the job ended
    parts.json                               which ranges of its output are parsed side by side
    results/<part>.jsonl                     results of one part
    results/{rest,last}-<part>-<n>.jsonl     results of rows that no part answers, at the last attempt or before
    results/reused-<hash>.jsonl              answers of earlier runs
    unkeyed/<part>.jsonl                     its answers that came back without a key
    parsed/<part>.json                       what was counted in one part
    repairs.json                             what was wrong with answers that are asked for once more
    settled.json                             one final state for every row of the shard
    delivered/<sink>-<part>.json             that one part is in one sink
    late.json                                how a job that was given up ended after all
    harvested.json                           how many of its answers are kept
    output/…                                 what Vertex writes
runs/<run>/gathered/<sink>/<part>.jsonl      rows for a sink that takes all at once
runs/<run>/late/<part>.jsonl                 answers of jobs that were given up and ended after all
runs/<run>/report.json                       the run is done
runs/<run>/callbacks/<callback>.json         that one of its callbacks is sent
pools/<pool>/<options>/<batch>               what was collected and is in no run yet, or in one that is not whole
cuts/<pool>/<options>/<number>.json          which batches make one run
done/<kind>/<run>                            that a run of a model and response schema has answers
dead/<step>                                  work that was refused so often that a person must look
given-up/<run>/<shard>/<attempt>             a job that may yet end, and is looked after
open/<run>                                   the run is not done

No name is ever the folder of another: some stores cannot hold both.
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
"""The folders of what a mill keeps; no sink may lie in them."""


def check_run(run: str) -> str:
    """Return ``run`` when it is fit to be a run's id, so that it can never escape its folder; raises ValueError."""
    if not RUN_ID.fullmatch(run):
        raise ValueError(f"not a run id: {run[:80]!r}")
    return run


def open_marker(run: str) -> str:
    """Name of the marker of a run that is not done."""
    return OPEN + check_run(run)


def dead_letter(step: str) -> str:
    """Name of the dead letter of a step."""
    if not STEP_ID.fullmatch(step):
        raise ValueError(f"not a step's id: {step[:80]!r}")
    return DEAD + step


def all_done(kind: str) -> str:
    """Folder of the marks of runs of one kind that are done, with its final slash."""
    return f"{DONE}{kind}/"


def done(kind: str, run: str) -> str:
    """Name of the mark of a run that is done and has answers."""
    return all_done(kind) + check_run(run)


def batch(pool: str, options: str, batch_id: str) -> str:
    """Name of some of what was collected for a pool; raises ValueError."""
    if not BATCH.fullmatch(batch_id):
        raise ValueError(f"not a batch's id: {batch_id[:80]!r}")
    return f"{POOLS}{_pool(pool, options)}/{batch_id}"


def cuts(pool: str, options: str) -> str:
    """Folder of the cuts of a pool with these options, with its final slash."""
    return f"{CUTS}{_pool(pool, options)}/"


def cut(pool: str, options: str, number: int) -> str:
    """Name of the fact which batches make the run of this ``file_number``."""
    return f"{cuts(pool, options)}{check_number(number):08d}.json"


def cut_of(run: str) -> str:
    """Name of the fact which batches a run is made of."""
    return folder(run) + "cut.json"


def cut_done(run: str) -> str:
    """Name of the fact that a run holds all that it was made of."""
    return folder(run) + "cut-done"


def check_pool(pool: str) -> str:
    """Return ``pool`` when it is fit to be a pool's name, which becomes a part of names and of labels; raises ValueError."""
    if not isinstance(pool, str) or not POOL.fullmatch(pool):
        raise ValueError(
            f"a pool's name is 1 to 63 of a-z, 0-9 and -, a letter first, not {str(pool)[:80]!r}"
        )
    return pool


def _pool(pool: str, options: str) -> str:
    if not BATCH.fullmatch(options):
        raise ValueError(f"not a hash of options: {options[:80]!r}")
    return f"{check_pool(pool)}/{options}"


def folder(run: str) -> str:
    """Folder of a run, with its final slash."""
    return f"runs/{check_run(run)}/"


def manifest(run: str) -> str:
    """Name of the run as opened."""
    return folder(run) + "run.json"


def chunk(run: str, index: int) -> str:
    """Name of the chunk ``shard_number``, counted from 0."""
    return f"{folder(run)}chunks/{check_number(index):08d}"


def seal(run: str) -> str:
    """Name of the seal."""
    return folder(run) + "seal.json"


def plan(run: str) -> str:
    """Name of the shard plan."""
    return folder(run) + "plan.json"


def aborted(run: str) -> str:
    """Name of the fact that the run will never be submitted."""
    return folder(run) + "aborted.json"


def cancelled(run: str) -> str:
    """Name of the fact that the run is to end with what it has."""
    return folder(run) + "cancelled.json"


def gathered(run: str, sink: str, part: str) -> str:
    """Name of the rows of one part for a sink that takes them all at once."""
    return f"{folder(run)}gathered/{sink}/{part}.jsonl"


def late_folder(run: str) -> str:
    """Folder of the answers that came too late for the results of a run, with its final slash."""
    return folder(run) + "late/"


def late(run: str, shard_number: int, attempt: int, part: int) -> str:
    """Name of the late answers of one part."""
    return f"{late_folder(run)}{check_number(shard_number):04d}-{check_number(attempt)}-{check_number(part):05d}.jsonl"


def abandoned_job(run: str, shard_number: int, attempt: int) -> str:
    """Name of the marker of a job that was given up, and may yet end."""
    return f"{ABANDONED_JOBS}{check_run(run)}/{check_number(shard_number)}/{check_number(attempt)}"


def report(run: str) -> str:
    """Name of the final report."""
    return folder(run) + "report.json"


def callback(run: str, callback_id: str) -> str:
    """Name of the fact that a callback of a run, such as ``link0``, is sent."""
    return f"{folder(run)}callbacks/{callback_id}.json"


def shard(run: str, shard_number: int, attempt: int) -> str:
    """Folder of one attempt of a shard, with its final slash."""
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
    """Name of a file of results of the rows that no part answers, ``first_part`` being the first of those that count.

    Whether this is their ``is_last_attempt`` attempt decides which rows these are, and so makes a name of its own.
    """
    file_name = f"{'last' if is_last_attempt else 'rest'}-{check_number(first_part)}-{check_number(file_number)}"
    return f"{shard(run, shard_number, attempt)}results/{file_name}.jsonl"


def unkeyed(run: str, shard_number: int, attempt: int, part: int) -> str:
    """Name of one part's answers that came back without a key."""
    return f"{shard(run, shard_number, attempt)}unkeyed/{check_number(part):05d}.jsonl"


def parsed(run: str, shard_number: int, attempt: int, part: int) -> str:
    """Name of what was counted in one part."""
    return f"{shard(run, shard_number, attempt)}parsed/{check_number(part):05d}.json"


def deduplicated_rows(run: str, shard_number: int, attempt: int) -> str:
    """Name of the list of rows that the input of an attempt leaves out, as another one of it asks the same."""
    return shard(run, shard_number, attempt) + "copies.json"


def all_answered(run: str) -> str:
    """Folder of the hashes of what a run was answered, with its final slash."""
    return folder(run) + "answered/"


def answered(run: str, shard_number: int) -> str:
    """Name of the hashes of what the rows of a shard were answered."""
    return f"{all_answered(run)}{check_number(shard_number):04d}"


def reused(run: str, shard_number: int) -> str:
    """Name of the list of rows that have an answer of an earlier run."""
    return shard(run, shard_number, 1) + "reused.json"


def reused_results(run: str, shard_number: int, content: str) -> str:
    """Name of a file of results that are answers of earlier runs, by the hash of its content."""
    return f"{shard(run, shard_number, 1)}results/reused-{content}.jsonl"


def schema_feedback(run: str, shard_number: int, attempt: int) -> str:
    """Name of what was wrong with answers of an attempt that are asked for once more."""
    return shard(run, shard_number, attempt) + "repairs.json"


def delivered(run: str, shard_number: int, attempt: int, sink: int, part: int) -> str:
    """Name of the fact that one part is in one sink."""
    return f"{shard(run, shard_number, attempt)}delivered/{check_number(sink):02d}-{check_number(part):05d}.json"


def check_number(value: int) -> int:
    """Return a number from a message when a name may hold it; raises ValueError."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"not a number of a place in a run: {str(value)[:80]!r}")
    return value


def tag(run: str) -> str:
    """Return the mark by which a row of output shows that it belongs to ``run``."""
    return "r" + hashlib.sha256(run.encode()).hexdigest()[:10]


def deployment_id(bucket_url: str) -> str:
    """Return the label value that tells the jobs of one Promptmill (one bucket folder) from those of others."""
    return hashlib.sha256(bucket_url.encode()).hexdigest()[:16]


def display_name(run: str, shard_number: int, attempt: int) -> str:
    """Return the job's display name: the same for every try to create it, so that a lost one can be found."""
    return f"promptmill-{run}-s{shard_number:04d}-a{attempt}"
