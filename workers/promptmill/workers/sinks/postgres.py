"""Results as rows of a PostgreSQL table: COPY beside it, then one upsert by run and key; a part is there whole or not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from promptmill.config.errors import ConfigurationError, Denied, Permanent
from promptmill.workers.ports.database import Column, Database, Rejected, Table
from promptmill.workers.sinks import columns, schema_columns
from promptmill.workers.sinks.columns import Plan
from promptmill.workers.sinks.rows import Line, listed, plain, properties, rows

MOST_APART = 100
"""More rows of one part than this do not fail to fit by chance: the part waits for a person to look at the table."""


class PostgresSink:
    """Rows of one table; ``connect`` opens a connection, which is closed after each call.

    Rows that do not fit into the table are set apart, with the reason, in a table of its name with ``_rejected``.
    """

    def __init__(
        self, connect: Callable[[], Database], table: str, run: str, schema: Mapping[str, Any] | None = None
    ) -> None:
        self._connect = connect
        self._table = table
        self._apart = columns.apart(table)
        self._run = run
        self._schema = schema

    def check(self) -> None:
        """Look at the table, which is made if it is missing; the error names what is wrong and the SQL that mends it."""
        try:
            with closing(self._connect()) as database:
                self._check(database)
        except (Permanent, Denied) as refusal:
            raise ConfigurationError(f"sink {self._table}: {refusal}") from None

    def deliver(self, part: str, lines: bytes) -> None:
        """Upsert one part in one transaction."""
        if not lines:
            return
        wanted = list(rows(lines, nul=False))
        with closing(self._connect()) as database:
            plan = self._plan(self._described(database), wanted)
            apart = database.describe(self._apart) is not None
            database.begin()
            if apart:
                database.forget(self._apart, self._run, part)
            unfit = list(self._put(database, plan, wanted))
            self._set_apart(database, part, unfit, apart)
            database.commit()

    def finish(self, parts: list[str]) -> str:  # noqa: ARG002
        """Return where the rows are, and how many of them are set apart."""
        with closing(self._connect()) as database:
            where = f"{database.name} {self._table}"
            apart = database.count(self._apart, self._run) if database.describe(self._apart) else 0
            return f"{where} ({apart} in {self._apart})" if apart else where

    def _check(self, database: Database) -> None:
        if not database.may_stage():
            raise Permanent(f"temporary tables may not be made: GRANT TEMPORARY ON DATABASE … TO …, at {database.name}")
        if database.describe(self._table) is None:
            more = schema_columns.columns(self._schema, frozenset(name for name, _ in columns.OWN))
            database.create(self._table, [*columns.OWN, *more], ("run", "key"))
        self._make_room_apart(database)
        if wrong := columns.complaints(self._table, self._described(database)):
            raise Permanent(f"table at {database.name}: {'; '.join(wrong)}")

    def _make_room_apart(self, database: Database) -> None:
        """Make the table of rows that do not fit; who may not make tables does without until there is such a row."""
        if database.describe(self._apart) is None:
            try:
                database.create(self._apart, columns.APART, ("run", "key"))
            except (Permanent, Denied):
                return

    def _described(self, database: Database) -> Table:
        found = database.describe(self._table)
        if found is None:
            raise Permanent(f"sink {self._table}: there is no such table at {database.name} any more")
        return found

    def _plan(self, table: Table, batch: Sequence[Line]) -> Plan:
        wanted = batch if columns.candidates(table) else ()
        return columns.plan(table, {name for one in wanted for name in properties(one.row)})

    def _put(self, database: Database, plan: Plan, batch: Sequence[Line]) -> Iterator[tuple[Line, str]]:
        """Upsert rows; halve those that do not fit until each that is to blame is alone, and yield it with the reason."""
        database.save()
        try:
            database.copy(self._table, plan.names, (self._values(plan, one) for one in batch))
            database.merge(self._table, plan.filled, plan.compared)
        except Rejected as rejection:
            database.undo()
            if len(batch) == 1:
                yield batch[0], str(rejection)
                return
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                yield from self._put(database, plan, half)

    def _values(self, plan: Plan, one: Line) -> list[Any]:
        known = {"run": self._run, "nul_replaced": one.had_nul}
        own = [known[name] if name in known else columns.FILL[name](one.row) for name in plan.own]
        found = properties(one.row) if plan.properties else {}
        return own + [_property(column, found) for column in plan.properties]

    def _set_apart(self, database: Database, part: str, unfit: list[tuple[Line, str]], there_is_room: bool) -> None:
        if not unfit:
            return
        _, reason = unfit[0]
        if len(unfit) > MOST_APART or not there_is_room:
            way_out = (
                "mend the table" if there_is_room else f"mend the table, or make {columns.sql_of_apart(self._table)}"
            )
            raise Permanent(f"sink {self._table}: {len(unfit)} rows of part {part} do not fit ({reason}): {way_out}")
        for one, why in unfit:
            told = [
                ("run", self._run),
                ("key", one.row.key),
                ("part", part),
                ("reason", why),
                ("result", one.line.decode()),
            ]
            database.insert(self._apart, told)


def _property(column: Column, found: dict[str, Any]) -> Any:
    value = found.get(column.name)
    if value is None:
        return None
    if column.base in {"json", "jsonb"}:
        return bytes(value).decode()
    return listed(value) if column.category == "A" else plain(value)
