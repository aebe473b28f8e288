"""Vertex's second way: a shard's job reads a table of BigQuery and writes another.

The bucket stays the truth: the input file of an attempt is loaded into a table right before its job is created, and the
table that the job wrote is extracted into the attempt's output folder, from which all goes on as ever. Both are jobs of
BigQuery's with ids that follow from the attempt, and run once. The tables go away by themselves, after 30 days.
"""

from functools import partial

from promptmill.config import names
from promptmill.config.errors import ConfigurationError, Denied, Permanent
from promptmill.config.tables import BIGQUERY_SCHEME, Table, parse_table
from promptmill.producers.contract.messages import Manifest
from promptmill.workers import bigquery_jobs
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Ended, Input
from promptmill.workers.ports.google import Bucket
from promptmill.workers.ports.warehouse import Column, Warehouse

INPUT_COLUMNS = (Column("key", "STRING"), Column("metadata", "STRING"), Column("request", "JSON"))
"""Those of a wire line. Vertex wants ``request``, as JSON or STRING, and passes on the others."""
_EXPIRY_DAYS = 30


def check_dataset(warehouse: Warehouse, manifest: Manifest) -> None:
    """Raise ConfigurationError when the run's jobs could have no tables where it wants them."""
    dataset = _parse_dataset(manifest)
    try:
        warehouse.check_job_access(dataset)
    except (Permanent, Denied) as error:
        raise ConfigurationError(f"tables {manifest.tables}: {error}") from error


def load_input(warehouse: Warehouse, bucket: Bucket, run: str, shard: int, attempt: int) -> None:
    """Load an attempt's input file into its table, unless its job is there already; raises Transient until that is done."""
    folder = names.shard(run, shard, attempt)
    manifest = records.get_fact(bucket, names.manifest(run), Manifest)
    if (
        bucket.find(folder + "job.json")
        or not records.get_fact(bucket, folder + "input.json", Input).requests
    ):
        return
    table = _attempt_table(bucket, manifest, shard, attempt)
    warehouse.create_table(table, INPUT_COLUMNS, _EXPIRY_DAYS)
    load = partial(warehouse.start_load, uris=[f"{bucket.url}/{folder}input.jsonl"])
    bigquery_jobs.run_job(warehouse, f"{_attempt_id(bucket, run, shard, attempt)}-in", table, load)


def extract_output(
    warehouse: Warehouse,
    bucket: Bucket,
    run: str,
    shard: int,
    attempt: int,
    end_fact: str = "ended.json",
) -> None:
    """Extract what a job wrote into its attempt's output folder; raises Transient until that is done.

    A table that is not there is waited for like a file that is not. ``end_fact`` is the fact of the job's end.
    """
    manifest = records.get_fact(bucket, names.manifest(run), Manifest)
    folder = names.shard(run, shard, attempt)
    reported_output = records.get_fact(bucket, folder + end_fact, Ended).job.output_directory
    table = (
        parse_table(reported_output)
        if reported_output.startswith(BIGQUERY_SCHEME)
        else _attempt_table(bucket, manifest, shard, attempt, "-out")
    )
    if warehouse.get_columns(table) is None:
        return
    extract = partial(
        warehouse.start_extract, uri=f"{bucket.url}/{folder}output/predictions-*.jsonl"
    )
    bigquery_jobs.run_job(
        warehouse, f"{_attempt_id(bucket, run, shard, attempt)}-out", table, extract
    )


def job_uris(bucket: Bucket, manifest: Manifest, shard: int, attempt: int) -> tuple[str, str]:
    """Return where an attempt's job reads and where it writes: ``bq://`` tables, or a file and a folder of the bucket."""
    if manifest.tables:
        source, destination = (
            _attempt_table(bucket, manifest, shard, attempt, suffix).url for suffix in ("", "-out")
        )
        return source, destination
    folder = f"{bucket.url}/{names.shard(manifest.run, shard, attempt)}"
    return f"{folder}input.jsonl", f"{folder}output"


def _parse_dataset(manifest: Manifest) -> Table:
    return parse_table(f"{manifest.tables}.all")


def _attempt_table(
    bucket: Bucket, manifest: Manifest, shard: int, attempt: int, suffix: str = ""
) -> Table:
    return _parse_dataset(manifest)._replace(
        name=f"promptmill-{_attempt_id(bucket, manifest.run, shard, attempt)}{suffix}"
    )


def _attempt_id(bucket: Bucket, run: str, shard: int, attempt: int) -> str:
    return f"{bigquery_jobs.unique_run_name(bucket, run)}-s{shard:04d}-a{attempt}"
