"""PostgreSQL behind the ``Database`` port."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import psycopg
from psycopg import sql

from promptmill.config.errors import Transient
from promptmill.workers.adapters.postgres_errors import FOREIGN, translated
from promptmill.workers.ports.database import Column, Rejected, Table

_CONNECTION: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # a server that is gone without a word is noticed while rows are sent, too
    "application_name": "promptmill",
    "autocommit": True,
    "prepare_threshold": None,  # PgBouncer hands out another connection for every transaction
}
_LIMITS = """
    SELECT set_config('statement_timeout', '60s', true), set_config('lock_timeout', '20s', true),
           set_config('idle_in_transaction_session_timeout', '60s', true)
"""
_KEY = ("run", "key")
_STAGED = sql.Identifier("pg_temp", "promptmill_staged")
_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typname, t.typcategory,
           a.attnotnull AND d.adbin IS NULL AND a.attidentity = '', a.attgenerated = '' AND a.attidentity = '',
           coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
           ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p
                 WHERE NOT has_column_privilege(a.attrelid, a.attnum, p))
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_UNIQUE = """
    SELECT bool_or(ARRAY(SELECT attname::text FROM pg_attribute
                         WHERE attrelid = i.indrelid AND attnum = ANY (i.indkey[0 : i.indnkeyatts - 1]) ORDER BY 1)
                   = ARRAY['key', 'run'])
    FROM pg_index i WHERE i.indrelid = %s
      AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
"""


def open_database(url: str, name: str) -> "PostgresDatabase":
    """Connect to ``postgresql://…``, which people are to see as ``name``; raises Transient, Permanent."""
    with translated(name):
        return PostgresDatabase(psycopg.connect(url, **_CONNECTION), name)


class PostgresDatabase:
    """A connection for one delivery. It is not kept: none can be shared over a fork, nor go stale between two runs."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self.name = name

    def __repr__(self) -> str:
        return f"PostgresDatabase({self.name!r})"

    def describe(self, table: str) -> Table | None:
        """Return what is known of a table."""
        quoted = _named(table).as_string(self._connection)
        found = self._rows("SELECT oid, relkind, current_user FROM pg_class WHERE oid = to_regclass(%s)", [quoted])
        if not found:
            return None
        oid, kind, role = found[0]
        columns = [Column._make((*row[:-1], tuple(row[-1]))) for row in self._rows(_COLUMNS, [oid])]
        return Table(kind, role, bool(self._rows(_UNIQUE, [oid])[0][0]), tuple(columns))

    def may_stage(self) -> bool:
        """Whether temporary tables may be made."""
        return bool(self._rows("SELECT has_database_privilege(current_database(), 'TEMP')")[0][0])

    def create(self, table: str, columns: Sequence[tuple[str, str]], key: Sequence[str]) -> None:
        """Make a table unless it exists; of two who do so at once, one may see the other's half."""
        described = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns]  # pyright: ignore[reportArgumentType]
        primary = sql.SQL("PRIMARY KEY ({})").format(_listed(key))
        made = sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})")
        try:
            self._execute(made.format(_named(table), sql.SQL(", ").join([*described, primary])))
        except Rejected:
            if self.describe(table) is None:
                raise Transient(f"{self.name}: table {table} is being made by somebody else") from None

    def begin(self) -> None:
        """Begin a transaction with limits of time."""
        self._execute("BEGIN")
        self._execute(_LIMITS)

    def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """COPY into a temporary table with the same types, that goes with the transaction."""
        staged = sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA")
        self._execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_STAGED))
        self._execute(staged.format(sql.Identifier("promptmill_staged"), _listed(columns), _named(table)))
        into = sql.SQL("COPY {} ({}) FROM STDIN").format(_STAGED, _listed(columns))
        with self._translated(), self._connection.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row(row)

    def merge(self, table: str, columns: Sequence[Column], compared: Sequence[Column]) -> int:
        """Upsert what was copied, in one statement."""
        names = [column.name for column in columns]
        changed = [
            sql.SQL("{0} = excluded.{0}").format(_column(column)) for column in columns if column.name not in _KEY
        ]
        upsert = sql.SQL("INSERT INTO {} AS kept ({}) SELECT {} FROM {} ON CONFLICT (run, key) DO {}").format(
            _named(table),
            _listed(names),
            sql.SQL(", ").join(map(_staged, columns)),
            _STAGED,
            sql.SQL("UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
                sql.SQL(", ").join(changed), _compared("kept", compared), _compared("excluded", compared)
            )
            if compared
            else sql.SQL("NOTHING"),
        )
        return self._execute(upsert)

    def save(self) -> None:
        """Set the savepoint."""
        self._execute("SAVEPOINT promptmill")

    def undo(self) -> None:
        """Go back to the savepoint."""
        self._execute("ROLLBACK TO SAVEPOINT promptmill")

    def forget(self, table: str, run: str, part: str) -> None:
        """Delete the rows of one part of a run."""
        delete = sql.SQL("DELETE FROM {} WHERE run = %s AND part = %s").format(_named(table))
        self._execute(delete, [run, part])

    def insert(self, table: str, row: Sequence[tuple[str, Any]]) -> None:
        """Insert a row, unless its key is there."""
        insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING")
        values = sql.SQL(", ").join([sql.Placeholder()] * len(row))
        self._execute(
            insert.format(_named(table), _listed([name for name, _ in row]), values), [value for _, value in row]
        )

    def count(self, table: str, run: str) -> int:
        """Return how many rows of a run a table has."""
        return int(self._rows(sql.SQL("SELECT count(*) FROM {} WHERE run = %s").format(_named(table)), [run])[0][0])

    def commit(self) -> None:
        """Commit. When the answer is lost, whether it was done is unknown, and does not matter: it may be done again."""
        self._execute("COMMIT")

    def close(self) -> None:
        """Close the connection, which rolls back what was not committed."""
        with suppress(*FOREIGN):
            self._connection.close()

    def _execute(self, query: Any, values: Sequence[Any] = ()) -> int:
        with self._translated():
            return int(self._connection.execute(query, values).rowcount)

    def _rows(self, query: Any, values: Sequence[Any] = ()) -> list[Any]:
        with self._translated():
            return list(self._connection.execute(query, values).fetchall())

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.name)


def _named(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _listed(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _column(column: Column) -> sql.Identifier:
    return sql.Identifier(column.name)


def _staged(column: Column) -> sql.Composable:
    """What a row gets: what was copied, or else the column's own default, which is the database's expression."""
    if not column.default:
        return _column(column)
    return sql.SQL("coalesce({}, {})").format(_column(column), sql.SQL(column.default))  # pyright: ignore[reportArgumentType]


def _compared(side: str, columns: Sequence[Column]) -> sql.Composed:
    """Columns of one side of a comparison; the type json has none, so its text is compared."""
    as_text = {"json": sql.SQL("{}::text")}
    plain = sql.SQL("{}")
    named = [(as_text.get(column.base, plain), sql.Identifier(side, column.name)) for column in columns]
    return sql.SQL(", ").join([form.format(name) for form, name in named])
