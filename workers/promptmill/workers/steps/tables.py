"""Jobs with BigQuery tables: a shard's job reads one table and writes another.

The bucket remains the source of truth. Right before the job is created, the input file is
loaded into a table. When the job has ended, its output table is extracted into the
attempt's output folder. Both are BigQuery jobs whose ids are derived from the attempt, so
each runs once. The tables expire after 30 days.
"""

from functools import partial

from promptmill.config.errors import ConfigurationError, Denied, Permanent
from promptmill.config.tables import BIGQUERY_SCHEME, Table, parse_table
from promptmill.producers.contract.messages import Manifest
from promptmill.workers import bigquery_jobs
from promptmill.workers.facts.fact import Fact
from promptmill.workers.facts.records import Ended
from promptmill.workers.facts.run_folder import AttemptFolder
from promptmill.workers.ports.warehouse import Column, Warehouse

INPUT_COLUMNS = (Column("key", "STRING"), Column("metadata", "STRING"), Column("request", "JSON"))
"""The fields of a request line. Vertex requires ``request`` and copies the others."""
_EXPIRY_DAYS = 30


def check_dataset(warehouse: Warehouse, manifest: Manifest) -> None:
    """Raise ConfigurationError if the run's jobs cannot have tables in its dataset."""
    dataset = _parse_dataset(manifest)
    try:
        warehouse.check_job_access(dataset)
    except (Permanent, Denied) as error:
        raise ConfigurationError(f"tables {manifest.tables}: {error}") from error


def load_input(warehouse: Warehouse, attempt: AttemptFolder) -> None:
    """Load the input file of an attempt into its table, unless its job exists.

    Raises Transient until the table is loaded.
    """
    manifest = attempt.run.manifest.get()
    if attempt.job.exists() or not attempt.input.get().requests:
        return
    table = _attempt_table(attempt, manifest)
    warehouse.create_table(table, INPUT_COLUMNS, _EXPIRY_DAYS)
    load = partial(warehouse.start_load, uris=[f"{attempt.bucket.url}/{attempt.input_file}"])
    bigquery_jobs.run_job(warehouse, f"{_attempt_id(attempt)}-in", table, load)


def extract_output(warehouse: Warehouse, attempt: AttemptFolder, end: Fact[Ended]) -> None:
    """Extract the output table of a job into the output folder of its attempt.

    ``end`` is the fact that the job ended. A missing table is handled like missing output
    files. Raises Transient until the table is extracted.
    """
    table = _output_table(attempt, end.get().job.output_directory)
    if warehouse.get_columns(table) is None:
        return
    uri = f"{attempt.bucket.url}/{attempt.output_folder}predictions-*.jsonl"
    extract = partial(warehouse.start_extract, uri=uri)
    bigquery_jobs.run_job(warehouse, f"{_attempt_id(attempt)}-out", table, extract)


def job_uris(attempt: AttemptFolder, manifest: Manifest) -> tuple[str, str]:
    """Return the input and output of a job: ``bq://`` tables, or a file and a folder."""
    if manifest.tables:
        return _attempt_table(attempt, manifest).url, _attempt_table(attempt, manifest, "-out").url
    return f"{attempt.url}input.jsonl", f"{attempt.url}output"


def _output_table(attempt: AttemptFolder, reported: str) -> Table:
    if reported.startswith(BIGQUERY_SCHEME):
        return parse_table(reported)
    return _attempt_table(attempt, attempt.run.manifest.get(), "-out")


def _parse_dataset(manifest: Manifest) -> Table:
    return parse_table(f"{manifest.tables}.all")


def _attempt_table(attempt: AttemptFolder, manifest: Manifest, suffix: str = "") -> Table:
    return _parse_dataset(manifest)._replace(name=f"promptmill-{_attempt_id(attempt)}{suffix}")


def _attempt_id(attempt: AttemptFolder) -> str:
    unique_run = bigquery_jobs.unique_run_name(attempt.run)
    return f"{unique_run}-s{attempt.shard:04d}-a{attempt.number}"
