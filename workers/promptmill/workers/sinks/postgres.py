"""Results as rows of a PostgreSQL table: COPY beside it, then one upsert by run and key; a part is there whole or not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from promptmill.config.errors import ConfigurationError, Denied, Permanent
from promptmill.workers.ports.database import Column, Database, RowsRejected, TableInfo
from promptmill.workers.sinks import columns, schema_columns
from promptmill.workers.sinks.columns import WritePlan
from promptmill.workers.sinks.rows import (
    ResultLine,
    array_value,
    parse_lines,
    read_properties,
    text_value,
)

MAX_REJECTED_ROWS = 100
"""More rows of one part than this do not fail to fit by chance: the part waits for a person to look at the table."""


class PostgresSink:
    """Rows of one table; ``connect`` opens a connection, which is closed after each call.

    Rows that do not fit into the table are set apart, with the reason, in a table of its name with ``_rejected``.
    """

    def __init__(
        self,
        connect: Callable[[], Database],
        table: str,
        run: str,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        self._connect = connect
        self._table = table
        self._rejected_table = columns.rejected_table_name(table)
        self._run = run
        self._schema = schema

    def check(self) -> None:
        """Look at the table, which is made if it is missing; the error names what is wrong and the SQL that mends it."""
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
        """Return where the rows are, and how many of them are set apart."""
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
                f"temporary tables may not be made: GRANT TEMPORARY ON DATABASE … TO …, at {database.name}"
            )
        if database.describe_table(self._table) is None:
            property_columns = schema_columns.columns_for_schema(
                self._schema, frozenset(name for name, _ in columns.RESULT_COLUMNS)
            )
            database.create_table(
                self._table, [*columns.RESULT_COLUMNS, *property_columns], ("run", "key")
            )
        self._create_rejected_table(database)
        if problems := columns.find_problems(self._table, self._describe_table(database)):
            raise Permanent(f"table at {database.name}: {'; '.join(problems)}")

    def _create_rejected_table(self, database: Database) -> None:
        """Make the table of rows that do not fit; who may not make tables does without until there is such a row."""
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
                f"sink {self._table}: there is no such table at {database.name} any more"
            )
        return table_info

    def _plan_write(self, table: TableInfo, batch: Sequence[ResultLine]) -> WritePlan:
        sampled_lines = batch if columns.property_candidates(table) else ()
        return columns.plan_write(
            table, {name for line in sampled_lines for name in read_properties(line.row)}
        )

    def _upsert_rows(
        self, database: Database, plan: WritePlan, batch: Sequence[ResultLine]
    ) -> Iterator[tuple[ResultLine, str]]:
        """Upsert rows; halve those that do not fit until each that is to blame is alone, and yield it with the reason."""
        database.set_savepoint()
        try:
            database.copy_rows(
                self._table, plan.column_names, (self._row_values(plan, line) for line in batch)
            )
            database.upsert_rows(self._table, plan.written_columns, plan.compared_columns)
        except RowsRejected as error:
            database.rollback_to_savepoint()
            if len(batch) == 1:
                yield batch[0], str(error)
                return
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                yield from self._upsert_rows(database, plan, half)

    def _row_values(self, plan: WritePlan, line: ResultLine) -> list[Any]:
        sink_values = {"run": self._run, "nul_replaced": line.had_nul}
        values = [
            sink_values[name] if name in sink_values else columns.VALUE_GETTERS[name](line.row)
            for name in plan.result_names
        ]
        property_values = read_properties(line.row) if plan.property_columns else {}
        return values + [
            _property_value(column, property_values) for column in plan.property_columns
        ]

    def _store_rejected_rows(
        self,
        database: Database,
        part: str,
        rejected_lines: list[tuple[ResultLine, str]],
        has_rejected_table: bool,
    ) -> None:
        if not rejected_lines:
            return
        _, reason = rejected_lines[0]
        if len(rejected_lines) > MAX_REJECTED_ROWS or not has_rejected_table:
            remedy = (
                "mend the table"
                if has_rejected_table
                else f"mend the table, or make {columns.rejected_table_sql(self._table)}"
            )
            raise Permanent(
                f"sink {self._table}: {len(rejected_lines)} rows of part {part} do not fit ({reason}): {remedy}"
            )
        for line, line_reason in rejected_lines:
            rejected_row = [
                ("run", self._run),
                ("key", line.row.key),
                ("part", part),
                ("reason", line_reason),
                ("result", line.line.decode()),
            ]
            database.insert_row(self._rejected_table, rejected_row)


def _property_value(column: Column, property_values: dict[str, Any]) -> Any:
    value = property_values.get(column.name)
    if value is None:
        return None
    if column.type_name in {"json", "jsonb"}:
        return bytes(value).decode()
    return array_value(value) if column.type_category == "A" else text_value(value)
