"""Results as rows of a BigQuery table: parts are gathered in the bucket, and loaded by one job when the run ends.

One load job a run, as BigQuery allows a table so many changes a day and no more, and as its rows then appear at once. The
job has an id that follows from the run, and BigQuery runs no id twice.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial

import msgspec

from promptmill.config import names
from promptmill.config.errors import ConfigurationError, Denied, Permanent
from promptmill.config.tables import Table
from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers import bigquery_jobs
from promptmill.workers.bigquery_jobs import PATIENCE
from promptmill.workers.ports.google import Bucket
from promptmill.workers.ports.warehouse import MOST_URIS, Column, TableJob, Warehouse

COLUMNS = (
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
)
"""What is known of a result; a table may have fewer of them, and others that take NULL."""

_FITTING = {
    "STRING": {"STRING"},
    "INTEGER": {"INTEGER", "INT64", "NUMERIC", "BIGNUMERIC", "FLOAT", "FLOAT64"},
    "JSON": {"JSON", "RECORD", "STRUCT"},
    "RECORD": {"JSON", "RECORD", "STRUCT"},
}
_PERMISSIONS = ("bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.updateData")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_MERGED_ON = {"run": ("run", "key"), "key": ("key",)}
_STAGING_DAYS = 30


class BigQuerySink:
    """One table; with ``merge`` rows are replaced by those of the same run and key, or of the same key, else appended."""

    def __init__(
        self, warehouse: Warehouse, bucket: Bucket, table: Table, spec: SinkSpec, run: str, patience: float = PATIENCE
    ) -> None:
        self._warehouse = warehouse
        self._bucket = bucket
        self._table = table
        self._run = run
        merge = str(spec.options.get("merge") or "")
        if merge and merge not in _MERGED_ON:
            raise ConfigurationError(f"sink {table.url}: merge is {' or '.join(_MERGED_ON)}, not {merge[:80]!r}")
        self._on = _MERGED_ON.get(merge, ())
        self._id = hashlib.sha256(f"{table} {merge}".encode()).hexdigest()[:8]
        self._patience = patience

    def check(self) -> None:
        """Look for the dataset, the right to run jobs and to write, and fitting columns; make the table if need be."""
        try:
            self._warehouse.check_jobs(self._table)
            columns = self._warehouse.columns(self._table)
            if columns is None:
                self._warehouse.create(self._table, COLUMNS)
                columns = list(COLUMNS)
            missing = set(_PERMISSIONS) - self._warehouse.may(self._table, _PERMISSIONS)
        except (Permanent, Denied) as error:
            raise ConfigurationError(f"sink {self._table.url} cannot be written: {error}") from error
        wrong = [f"{name} is missing" for name in sorted(missing)] or list(_misfits(columns, self._on or ("key",)))
        if wrong:
            raise ConfigurationError(f"sink {self._table.url} cannot be written: {'; '.join(wrong)}")

    def deliver(self, part: str, lines: bytes) -> None:
        """Keep one part for the load, with the run's id in each of its rows: the same bytes every time."""
        self._bucket.write(names.gathered(self._run, self._id, part), b"".join(_rows(lines, self._run)))

    def finish(self, parts: list[str]) -> str:
        """Load all parts, and merge them if that is wanted; raises Transient while BigQuery is at it."""
        loaded = self._staging() if self._on else self._table
        for first in range(0, len(parts), MOST_URIS):
            uris = [self._uri(part) for part in parts[first : first + MOST_URIS]]
            self._bring_through(f"load{first}", loaded, partial(self._warehouse.load, uris=uris))
        if self._on:
            self._bring_through("merge", self._table, partial(self._warehouse.merge, source=loaded, on=self._on))
            self._warehouse.drop(loaded)
        return self._table.url

    def _staging(self) -> Table:
        """Make the table that a run's rows are merged from, with the columns of the sink's."""
        columns = self._warehouse.columns(self._table)
        if columns is None:
            raise Permanent(f"sink {self._table.url} is not there any more")
        staging = self._table._replace(name=f"promptmill-{self._mark}-{self._id}")
        self._warehouse.create(staging, columns, _STAGING_DAYS)
        return staging

    def _bring_through(self, stage: str, table: Table, begin: Callable[[TableJob], None]) -> None:
        bigquery_jobs.bring_through(self._warehouse, f"{self._mark}-{self._id}-{stage}", table, begin, self._patience)

    @cached_property
    def _mark(self) -> str:
        return bigquery_jobs.mark(self._bucket, self._run)

    def _uri(self, part: str) -> str:
        return f"{self._bucket.url}/{names.gathered(self._run, self._id, part)}"


def _rows(lines: bytes, run: str) -> Iterator[bytes]:
    """Complete every line by the run, and the first attempt, which results do not name; values stay as they are."""
    told = {"run": msgspec.Raw(b'"%s"' % run.encode()), "attempt": msgspec.Raw(b"1")}
    for line in lines.split(b"\n")[:-1]:
        yield _encode(told | _decode(line)) + b"\n"


def _misfits(columns: Iterable[Column], needed: Iterable[str]) -> Iterator[str]:
    theirs, ours = {column.name.lower(): column for column in columns}, {column.name: column for column in COLUMNS}
    for name in needed:
        if name not in theirs:
            yield f"column {name} is missing"
    for name, column in theirs.items():
        own = ours.get(name)
        if own is None and column.mode == "REQUIRED":
            yield f"column {name} is REQUIRED, and nothing is known to put there"
        elif own and column.mode == "REQUIRED" and own.mode != "REQUIRED":
            yield f"column {name} is REQUIRED, but not every result has it"
        elif own and (column.mode == "REPEATED" or column.type not in _FITTING[own.type]):
            yield f"column {name} is {column.type} {column.mode}, not {own.type}"
