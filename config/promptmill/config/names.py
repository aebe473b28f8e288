"""Names of the objects in the bucket that are in no run's folder.

pools/<pool>/<options>/<batch>        prompts of a pool that are in no complete run
cuts/<pool>/<options>/<number>.json   the batches of one run
done/<kind>/<run>                     a run of a model and schema has answers
dead/<step>                           dead letter: a step that needs an operator
given-up/<run>/<shard>/<attempt>      an abandoned job that may still end
open/<run>                            the run is not done

The class ``RunFolder`` of the workers names the objects of a run.
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
        raise ValueError(f"{run[:80]!r} is not a run id; list runs with promptmill list")
    return run


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


def check_pool(pool: str) -> str:
    """Return the name of a pool; raises ValueError if names or labels cannot hold it."""
    if not isinstance(pool, str) or not POOL.fullmatch(pool):
        raise ValueError(
            f"pool {str(pool)[:80]!r}: a pool name must have 1 to 63 characters of a-z, 0-9 and -, "
            "and start with a letter"
        )
    return pool


def _pool(pool: str, options: str) -> str:
    if not BATCH.fullmatch(options):
        raise ValueError(f"not a hash of options: {options[:80]!r}")
    return f"{check_pool(pool)}/{options}"


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
