"""Vertex's second way: a shard's job reads a table of BigQuery and writes another.

The bucket stays the truth: the input file of an attempt is loaded into a table right before its job is created, and the
table that the job wrote is extracted into the attempt's output folder, from which all goes on as ever. Both are jobs of
BigQuery's with ids that follow from the attempt, and run once. The tables go away by themselves, after 30 days.
"""

from functools import partial

from promptmill.config import names
from promptmill.config.errors import ConfigurationError, Denied, Permanent
from promptmill.config.tables import SCHEME, Table, parse
from promptmill.producers.contract.messages import Manifest
from promptmill.workers import bigquery_jobs
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Ended, Input
from promptmill.workers.ports.google import Bucket
from promptmill.workers.ports.warehouse import Column, Warehouse

COLUMNS = (Column("key", "STRING"), Column("metadata", "STRING"), Column("request", "JSON"))
"""Those of a wire line. Vertex wants ``request``, as JSON or STRING, and passes on the others."""
_DAYS = 30


def check(warehouse: Warehouse, manifest: Manifest) -> None:
    """Raise ConfigurationError when the run's jobs could have no tables where it wants them."""
    dataset = _dataset(manifest)
    try:
        warehouse.check_jobs(dataset)
    except (Permanent, Denied) as error:
        raise ConfigurationError(f"tables {manifest.tables}: {error}") from error


def bring_in(warehouse: Warehouse, bucket: Bucket, run: str, index: int, attempt: int) -> None:
    """Load an attempt's input file into its table, unless its job is there already; raises Transient until that is done."""
    folder = names.shard(run, index, attempt)
    manifest = records.get(bucket, names.manifest(run), Manifest)
    if bucket.find(folder + "job.json") or not records.get(bucket, folder + "input.json", Input).requests:
        return
    table = _table(bucket, manifest, index, attempt)
    warehouse.create(table, COLUMNS, _DAYS)
    load = partial(warehouse.load, uris=[f"{bucket.url}/{folder}input.jsonl"])
    bigquery_jobs.bring_through(warehouse, f"{_mark(bucket, run, index, attempt)}-in", table, load)


def bring_out(
    warehouse: Warehouse, bucket: Bucket, run: str, index: int, attempt: int, end: str = "ended.json"
) -> None:
    """Extract what a job wrote into its attempt's output folder; raises Transient until that is done.

    A table that is not there is waited for like a file that is not. ``end`` is the fact of the job's end.
    """
    manifest = records.get(bucket, names.manifest(run), Manifest)
    folder = names.shard(run, index, attempt)
    told = records.get(bucket, folder + end, Ended).job.output_directory
    table = parse(told) if told.startswith(SCHEME) else _table(bucket, manifest, index, attempt, "-out")
    if warehouse.columns(table) is None:
        return
    extract = partial(warehouse.extract, uri=f"{bucket.url}/{folder}output/predictions-*.jsonl")
    bigquery_jobs.bring_through(warehouse, f"{_mark(bucket, run, index, attempt)}-out", table, extract)


def uris(bucket: Bucket, manifest: Manifest, index: int, attempt: int) -> tuple[str, str]:
    """Return where an attempt's job reads and where it writes: ``bq://`` tables, or a file and a folder of the bucket."""
    if manifest.tables:
        source, destination = (_table(bucket, manifest, index, attempt, kind).url for kind in ("", "-out"))
        return source, destination
    folder = f"{bucket.url}/{names.shard(manifest.run, index, attempt)}"
    return f"{folder}input.jsonl", f"{folder}output"


def _dataset(manifest: Manifest) -> Table:
    return parse(f"{manifest.tables}.all")


def _table(bucket: Bucket, manifest: Manifest, index: int, attempt: int, kind: str = "") -> Table:
    return _dataset(manifest)._replace(name=f"promptmill-{_mark(bucket, manifest.run, index, attempt)}{kind}")


def _mark(bucket: Bucket, run: str, index: int, attempt: int) -> str:
    return f"{bigquery_jobs.mark(bucket, run)}-s{index:04d}-a{attempt}"
