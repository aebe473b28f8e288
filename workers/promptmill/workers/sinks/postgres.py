"""Results as rows of a PostgreSQL table.

One transaction writes a part: COPY into a temporary table, then one upsert by run and key.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

import msgspec

from promptmill.config.errors import ConfigurationError, Denied, Permanent
from promptmill.producers.contract.messages import SinkSpec
from promptmill.producers.contract.sink_specs import check_table
from promptmill.workers.ports.database import Column, Database, RowsRejected, TableInfo
from promptmill.workers.sinks import allowlist, columns, schema_columns
from promptmill.workers.sinks.columns import WritePlan
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.rows import (
    OPTIONAL_FIELDS,
    ResultLine,
    array_literal,
    array_value,
    find_filled,
    parse_lines,
    read_properties,
    text_value,
)
from promptmill.workers.sinks.sink import Sink

MAX_REJECTED_ROWS = 100
"""Maximum rejected rows of one part. With more, the table itself is wrong, and the part
waits until an operator has fixed it."""
_RejectedLine = tuple[ResultLine, str]
"""A line whose row the table rejected, and the reason."""


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open a sink for one table. Raises ConfigurationError."""
    server = allowlist.resolve_server(context.settings, spec, "postgresql")
    table = check_table(str(spec.options.get("table", "")))
    return PostgresSink(
        lambda: context.connectors.open_database(server.url, server.name),
        table,
        context.run,
        context.schema,
        context.filled,
        context.dimensions,
    )


class PostgresSink:
    """Writes one table. Each call opens a connection and closes it.

    Rows that the table rejects go to the table ``NAME_rejected``, with the reason.
    """

    def __init__(
        self,
        connect: Callable[[], Database],
        table: str,
        run: str,
        schema: Mapping[str, object] | None = None,
        filled: frozenset[str] = frozenset(),
        dimensions: int = 0,
    ) -> None:
        self._connect = connect
        self._dimensions = dimensions
        self._table = table
        self._rejected_table = columns.rejected_table_name(table)
        self._run = run
        self._schema = schema
        self._filled = filled

    def check(self) -> None:
        """Check the table. Creates a missing one. Errors name the SQL that fixes them."""
        try:
            with closing(self._connect()) as database:
                self._check_table(database)
        except (Permanent, Denied) as error:
            raise ConfigurationError(f"sink {self._table}: {error}") from None

    def deliver(self, part: str, lines: bytes) -> None:
        """Upsert one part in one transaction."""
        if not lines:
            return
        batch = list(parse_lines(lines, keep_nul=False))
        with closing(self._connect()) as database:
            plan = self._plan_write(self._describe_table(database), batch)
            has_rejected_table = database.describe_table(self._rejected_table) is not None
            database.begin()
            if has_rejected_table:
                database.delete_part(self._rejected_table, self._run, part)
            rejected_lines = list(self._upsert_rows(database, plan, batch))
            self._store_rejected_rows(database, part, rejected_lines, has_rejected_table)
            database.commit()

    def finish(self, parts: list[str]) -> str:  # noqa: ARG002
        """Return the database and table, and the number of rejected rows."""
        with closing(self._connect()) as database:
            location = f"{database.name} {self._table}"
            rejected_count = (
                database.count_rows(self._rejected_table, self._run)
                if database.describe_table(self._rejected_table)
                else 0
            )
            return (
                f"{location} ({rejected_count} in {self._rejected_table})"
                if rejected_count
                else location
            )

    def _check_table(self, database: Database) -> None:
        if not database.can_create_temp_tables():
            raise Permanent(
                f"temporary tables cannot be created at {database.name}. "
                "Run: GRANT TEMPORARY ON DATABASE … TO …"
            )
        if database.describe_table(self._table) is None:
            self._create_table(database)
        self._create_rejected_table(database)
        table = self._describe_table(database)
        if problems := columns.find_problems(self._table, table, self._filled, self._dimensions):
            raise Permanent(f"table at {database.name}: {'; '.join(problems)}")

    def _create_table(self, database: Database) -> None:
        definitions = columns.make_result_columns(self._choose_vector_type(database))
        reserved_names = frozenset(definitions) - OPTIONAL_FIELDS
        definitions |= schema_columns.columns_for_schema(self._schema, reserved_names)
        database.create_table(self._table, list(definitions.items()), ("run", "key"))

    def _choose_vector_type(self, database: Database) -> str:
        """Return pgvector's type for a run with embeddings, or "" where it is not installed."""
        if "embedding" not in self._filled or not database.has_type(columns.VECTOR_TYPE):
            return ""
        return f"{columns.VECTOR_TYPE}({self._dimensions})" if self._dimensions else "vector"

    def _create_rejected_table(self, database: Database) -> None:
        """Create the table of rejected rows. Without permission, wait for such a row."""
        if database.describe_table(self._rejected_table) is None:
            try:
                database.create_table(
                    self._rejected_table, columns.REJECTED_COLUMNS, ("run", "key")
                )
            except (Permanent, Denied):
                return

    def _describe_table(self, database: Database) -> TableInfo:
        table_info = database.describe_table(self._table)
        if table_info is None:
            raise Permanent(
                f"sink {self._table}: the table was deleted at {database.name}. Create it again"
            )
        return table_info

    def _plan_write(self, table: TableInfo, batch: Sequence[ResultLine]) -> WritePlan:
        sampled_lines = batch if columns.property_candidates(table) else ()
        return columns.plan_write(
            table,
            {name for line in sampled_lines for name in read_properties(line.row)},
            find_filled(line.row for line in batch),
        )

    def _upsert_rows(
        self, database: Database, plan: WritePlan, batch: Sequence[ResultLine]
    ) -> Iterator[_RejectedLine]:
        """Upsert rows, and yield each rejected row with the reason. Halves rejected batches."""
        database.set_savepoint()
        try:
            self._write_rows(database, plan, batch)
        except RowsRejected as error:
            database.rollback_to_savepoint()
            if len(batch) == 1:
                yield batch[0], str(error)
                return
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                yield from self._upsert_rows(database, plan, half)

    def _write_rows(self, database: Database, plan: WritePlan, batch: Sequence[ResultLine]) -> None:
        array_position = plan.array_position
        rows = (self._row_values(plan, line, array_position) for line in batch)
        database.copy_rows(self._table, plan.column_names, rows)
        database.upsert_rows(self._table, plan.written_columns, plan.compared_columns)

    def _row_values(self, plan: WritePlan, line: ResultLine, array_position: int) -> list[object]:
        sink_values: dict[str, object] = {"run": self._run, "nul_replaced": line.had_nul}
        values = [
            sink_values[name] if name in sink_values else columns.VALUE_GETTERS[name](line.row)
            for name in plan.result_names
        ]
        if array_position >= 0 and (vector := values[array_position]):
            values[array_position] = array_literal(str(vector))
        property_values = read_properties(line.row) if plan.property_columns else {}
        return values + [
            _property_value(column, property_values) for column in plan.property_columns
        ]

    def _store_rejected_rows(
        self, database: Database, part: str, rejected_lines: list[_RejectedLine], has_table: bool
    ) -> None:
        self._check_rejections(part, rejected_lines, has_table)
        for line, reason in rejected_lines:
            rejected_row = [
                ("run", self._run),
                ("key", line.row.key),
                ("part", part),
                ("reason", reason),
                ("result", line.line.decode()),
            ]
            database.insert_row(self._rejected_table, rejected_row)

    def _check_rejections(
        self, part: str, rejected_lines: list[_RejectedLine], has_table: bool
    ) -> None:
        if not rejected_lines or (has_table and len(rejected_lines) <= MAX_REJECTED_ROWS):
            return
        remedy = "Fix the table"
        if not has_table:
            remedy += f", or run: {columns.rejected_table_sql(self._table)}"
        _, reason = rejected_lines[0]
        raise Permanent(
            f"sink {self._table}: {len(rejected_lines)} rows of part {part} do not fit "
            f"({reason}). {remedy}"
        )


def _property_value(column: Column, property_values: dict[str, msgspec.Raw]) -> object:
    value = property_values.get(column.name)
    if value is None:
        return None
    if column.type_name in {"json", "jsonb"}:
        return bytes(value).decode()
    return array_value(value) if column.type_category == "A" else text_value(value)
