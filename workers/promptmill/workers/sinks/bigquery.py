"""Results as rows of a BigQuery table.

Parts are stored in the bucket and loaded by one job when the run ends: BigQuery limits
the changes of a table per day, and all rows then appear at once. The job's id follows
from the run, and BigQuery never runs an id twice.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial

import msgspec

from promptmill.config.errors import ConfigurationError, Denied, Permanent
from promptmill.config.tables import Table
from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers import bigquery_jobs
from promptmill.workers.bigquery_jobs import JOB_TIMEOUT
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.ports.google import Bucket
from promptmill.workers.ports.warehouse import MAX_SOURCE_URIS, BigQueryJob, Column, Warehouse
from promptmill.workers.sinks import allowlist
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.rows import OPTIONAL_FIELDS
from promptmill.workers.sinks.sink import Sink

RESULT_COLUMNS = (
    Column("run", "STRING", "REQUIRED"),
    Column("key", "STRING", "REQUIRED"),
    Column("row", "INTEGER", "REQUIRED"),
    Column("state", "STRING", "REQUIRED"),
    Column("text", "STRING"),
    Column("parsed", "JSON"),
    Column("error", "RECORD", fields=(Column("reason", "STRING"), Column("message", "STRING"))),
    Column("finish_reason", "STRING"),
    Column("usage", "JSON"),
    Column("attempt", "INTEGER"),
    Column("model_version", "STRING"),
    Column("metadata", "JSON"),
    Column("content", "JSON"),
    Column("response", "JSON"),
    Column("embedding", "FLOAT", "REPEATED"),
)
"""The columns of a new table. An existing table may lack some, and may have others that
are nullable."""

_COMPATIBLE_TYPES = {
    "STRING": {"STRING"},
    "INTEGER": {"INTEGER", "INT64", "NUMERIC", "BIGNUMERIC", "FLOAT", "FLOAT64"},
    "JSON": {"JSON", "RECORD", "STRUCT"},
    "RECORD": {"JSON", "RECORD", "STRUCT"},
    "FLOAT": {"FLOAT", "FLOAT64", "NUMERIC", "BIGNUMERIC"},
}
_REQUIRED_PERMISSIONS = (
    "bigquery.tables.get",
    "bigquery.tables.getData",
    "bigquery.tables.updateData",
)
_decode_line = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode_line = msgspec.json.Encoder().encode
_MERGE_KEYS = {"run": ("run", "key"), "key": ("key",)}
_STAGING_DAYS = 30


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open a sink for one table. Raises ConfigurationError."""
    bucket = context.open_bucket(context.settings.get_required("bucket"))
    table = allowlist.resolve_table(context.settings, spec)
    warehouse = context.connectors.open_warehouse()
    return BigQuerySink(warehouse, bucket, table, spec, context.run, filled=context.filled)


class BigQuerySink:
    """Writes one table.

    With the option ``merge``, rows replace those of the same key, or of the same run and
    key. Otherwise they are appended. ``timeout`` is how many seconds one call waits for a
    job of BigQuery. ``filled`` names the optional fields of results that the run fills.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        bucket: Bucket,
        table: Table,
        spec: SinkSpec,
        run: str,
        timeout: float = JOB_TIMEOUT,
        filled: frozenset[str] = frozenset(),
    ) -> None:
        self._filled = filled
        self._warehouse = warehouse
        self._table = table
        self._run = RunFolder(bucket, run)
        merge = str(spec.options.get("merge") or "")
        if merge and merge not in _MERGE_KEYS:
            raise ConfigurationError(
                f"sink {table.url}: merge must be {' or '.join(_MERGE_KEYS)}, not {merge[:80]!r}"
            )
        self._key_columns = _MERGE_KEYS.get(merge, ())
        self._sink_id = hashlib.sha256(f"{table} {merge}".encode()).hexdigest()[:8]
        self._timeout = timeout

    def check(self) -> None:
        """Check the dataset, permissions and columns. Creates a missing table."""
        try:
            problems = self._find_problems()
        except (Permanent, Denied) as error:
            raise self._unwritable_error(str(error)) from error
        if problems:
            raise self._unwritable_error("; ".join(problems))

    def deliver(self, part: str, lines: bytes) -> None:
        """Store one part in the bucket, with the run's id in each row."""
        rows = b"".join(_encode_rows(lines, self._run.id))
        self._run.bucket.write(self._run.gathered(self._sink_id, part), rows)

    def finish(self, parts: list[str]) -> str:
        """Load all parts, and merge them if requested. Raises Transient while a job runs."""
        load_table = self._create_staging_table() if self._key_columns else self._table
        for offset in range(0, len(parts), MAX_SOURCE_URIS):
            uris = [self._part_uri(part) for part in parts[offset : offset + MAX_SOURCE_URIS]]
            load = partial(self._warehouse.start_load, uris=uris)
            self._complete_job(f"load{offset}", load_table, load)
        if self._key_columns:
            merge = partial(self._warehouse.start_merge, source=load_table, on=self._key_columns)
            self._complete_job("merge", self._table, merge)
            self._warehouse.delete_table(load_table)
        return self._table.url

    def _find_problems(self) -> list[str]:
        self._warehouse.check_job_access(self._table)
        columns = self._warehouse.get_columns(self._table)
        if columns is None:
            self._warehouse.create_table(self._table, RESULT_COLUMNS)
            columns = list(RESULT_COLUMNS)
        granted = self._warehouse.test_permissions(self._table, _REQUIRED_PERMISSIONS)
        if missing := set(_REQUIRED_PERMISSIONS) - granted:
            return [f"{name} is missing" for name in sorted(missing)]
        required_names = self._key_columns or ("key",)
        return list(_find_column_problems(columns, required_names, self._filled))

    def _unwritable_error(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"sink {self._table.url} cannot be written: {reason}")

    def _create_staging_table(self) -> Table:
        """Create the table that a run's rows are merged from."""
        columns = self._warehouse.get_columns(self._table)
        if columns is None:
            raise Permanent(f"sink {self._table.url} was deleted. Create the table again")
        staging_table = self._table._replace(
            name=f"promptmill-{self._unique_run_id}-{self._sink_id}"
        )
        self._warehouse.create_table(staging_table, columns, _STAGING_DAYS)
        return staging_table

    def _complete_job(
        self, job_suffix: str, table: Table, start_job: Callable[[BigQueryJob], None]
    ) -> None:
        bigquery_jobs.run_job(
            self._warehouse,
            f"{self._unique_run_id}-{self._sink_id}-{job_suffix}",
            table,
            start_job,
            self._timeout,
        )

    @cached_property
    def _unique_run_id(self) -> str:
        return bigquery_jobs.unique_run_name(self._run)

    def _part_uri(self, part: str) -> str:
        return f"{self._run.bucket.url}/{self._run.gathered(self._sink_id, part)}"


def _encode_rows(lines: bytes, run: str) -> Iterator[bytes]:
    """Add the run to each line, and the attempt where results omit it, which is the first."""
    run_fields = {"run": msgspec.Raw(b'"%s"' % run.encode()), "attempt": msgspec.Raw(b"1")}
    for line in lines.split(b"\n")[:-1]:
        yield _encode_line(run_fields | _decode_line(line)) + b"\n"


def _find_column_problems(
    columns: Iterable[Column], required_names: Iterable[str], filled: frozenset[str]
) -> Iterator[str]:
    table_columns = {column.name.lower(): column for column in columns}
    absent_names = OPTIONAL_FIELDS - filled
    result_columns = {item.name: item for item in RESULT_COLUMNS if item.name not in absent_names}
    for name in required_names:
        if name not in table_columns:
            yield f"column {name} is missing"
    for name, column in table_columns.items():
        if problem := _describe_conflict(name, column, result_columns.get(name)):
            yield problem


def _describe_conflict(name: str, column: Column, result_column: Column | None) -> str:
    """Return why results do not fit a column, or "" if they do."""
    if result_column is None:
        is_required = column.mode == "REQUIRED"
        return f"column {name} is REQUIRED, but results have no such column" if is_required else ""
    if column.mode == "REQUIRED" and result_column.mode != "REQUIRED":
        return f"column {name} is REQUIRED, but not every result has a value"
    if _is_compatible(column, result_column):
        return ""
    mode = " REPEATED" if result_column.mode == "REPEATED" else ""
    return f"column {name} is {column.type} {column.mode}, not {result_column.type}{mode}"


def _is_compatible(column: Column, result_column: Column) -> bool:
    has_same_mode = (column.mode == "REPEATED") == (result_column.mode == "REPEATED")
    return has_same_mode and column.type in _COMPATIBLE_TYPES[result_column.type]
