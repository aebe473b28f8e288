"""PostgreSQL behind the ``Database`` port."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from promptmill.config.errors import Transient
from promptmill.workers.adapters.postgres_errors import POSTGRES_ERRORS, translate_errors
from promptmill.workers.ports.database import Column, RowsRejected, TableInfo

_connect = partial(
    psycopg.connect,
    connect_timeout=10,
    keepalives_idle=10,
    keepalives_interval=5,
    keepalives_count=3,
    tcp_user_timeout=30_000,  # notices a vanished server while rows are sent
    application_name="promptmill",
    autocommit=True,
    prepare_threshold=None,  # PgBouncer may use another connection per transaction
)
_TIMEOUTS_QUERY = """
    SELECT set_config('statement_timeout', '60s', true), set_config('lock_timeout', '20s', true),
           set_config('idle_in_transaction_session_timeout', '60s', true)
"""
_KEY_COLUMNS = ("run", "key")
_STAGING_TABLE = sql.Identifier("pg_temp", "promptmill_staged")
_UPSERT_QUERY = sql.SQL(
    "INSERT INTO {} AS kept ({}) SELECT {} FROM {} ON CONFLICT (run, key) DO {}"
)
_TABLE_QUERY = "SELECT oid, relkind, current_user FROM pg_class WHERE oid = to_regclass(%s)"
_COLUMNS_QUERY = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typname, t.typcategory,
           a.attnotnull AND d.adbin IS NULL AND a.attidentity = '',
           a.attgenerated = '' AND a.attidentity = '',
           coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
           ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p
                 WHERE NOT has_column_privilege(a.attrelid, a.attnum, p))
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_UNIQUE_KEY_QUERY = """
    SELECT bool_or(ARRAY(SELECT attname::text FROM pg_attribute
                         WHERE attrelid = i.indrelid
                           AND attnum = ANY (i.indkey[0 : i.indnkeyatts - 1]) ORDER BY 1)
                   = ARRAY['key', 'run'])
    FROM pg_index i WHERE i.indrelid = %s
      AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL
"""


def open_database(url: str, name: str) -> "PostgresDatabase":
    """Connect to ``postgresql://…``. Messages show ``name``. Raises Transient, Permanent."""
    with translate_errors(name):
        return PostgresDatabase(_connect(url), name)


class PostgresDatabase:
    """A connection for one delivery.

    It is not kept: it would not survive a fork, and could go stale between runs.
    """

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self.name = name

    def __repr__(self) -> str:
        return f"PostgresDatabase({self.name!r})"

    def describe_table(self, table: str) -> TableInfo | None:
        """Return a table's columns and privileges, or None if it does not exist."""
        quoted_table = _table_identifier(table).as_string(self._connection)
        table_rows = self._fetch_rows(_TABLE_QUERY, [quoted_table])
        if not table_rows:
            return None
        oid, kind, role = table_rows[0]
        columns = [
            Column._make((*row[:-1], tuple(row[-1])))
            for row in self._fetch_rows(_COLUMNS_QUERY, [oid])
        ]
        has_unique_key = bool(self._fetch_rows(_UNIQUE_KEY_QUERY, [oid])[0][0])
        return TableInfo(kind, role, has_unique_key, tuple(columns))

    def has_type(self, name: str) -> bool:
        """Whether a type of this name can be used without its schema."""
        return self._fetch_rows("SELECT to_regtype(%s) IS NOT NULL", [name])[0][0] is True

    def can_create_temp_tables(self) -> bool:
        """Whether the role may create temporary tables."""
        return bool(
            self._fetch_rows("SELECT has_database_privilege(current_database(), 'TEMP')")[0][0]
        )

    def create_table(
        self, table: str, columns: Sequence[tuple[str, str]], primary_key: Sequence[str]
    ) -> None:
        """Create a table unless it exists.

        Concurrent creations conflict in PostgreSQL's catalog. The loser raises Transient.
        """
        try:
            self._execute(_creation_statement(table, columns, primary_key))
        except RowsRejected:
            if self.describe_table(table) is None:
                raise Transient(
                    f"{self.name}: another process is creating the table {table}"
                ) from None

    def begin(self) -> None:
        """Begin a transaction with timeouts."""
        self._execute("BEGIN")
        self._execute(_TIMEOUTS_QUERY)

    def copy_rows(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """COPY into a temporary table with the same types, dropped at the end."""
        self._create_staging_table(table, columns)
        statement = sql.SQL("COPY {} ({}) FROM STDIN")
        with (
            self._translate_errors(),
            self._connection.cursor() as cursor,
            cursor.copy(statement.format(_STAGING_TABLE, _column_list(columns))) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def upsert_rows(
        self, table: str, columns: Sequence[Column], compared_columns: Sequence[Column]
    ) -> int:
        """Upsert the copied rows in one statement."""
        upsert = _UPSERT_QUERY.format(
            _table_identifier(table),
            _column_list([column.name for column in columns]),
            sql.SQL(", ").join(map(_staged_value, columns)),
            _STAGING_TABLE,
            _conflict_action(columns, compared_columns),
        )
        return self._execute(upsert)

    def set_savepoint(self) -> None:
        """Set the savepoint."""
        self._execute("SAVEPOINT promptmill")

    def rollback_to_savepoint(self) -> None:
        """Roll back to the savepoint."""
        self._execute("ROLLBACK TO SAVEPOINT promptmill")

    def delete_part(self, table: str, run: str, part: str) -> None:
        """Delete the rows of one part of a run."""
        statement = sql.SQL("DELETE FROM {} WHERE run = %s AND part = %s")
        self._execute(statement.format(_table_identifier(table)), [run, part])

    def insert_row(self, table: str, row: Sequence[tuple[str, object]]) -> None:
        """Insert a row unless its key exists."""
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING")
        values = sql.SQL(", ").join([sql.Placeholder()] * len(row))
        self._execute(
            statement.format(
                _table_identifier(table), _column_list([name for name, _ in row]), values
            ),
            [value for _, value in row],
        )

    def count_rows(self, table: str, run: str) -> int:
        """Return the number of rows of a run."""
        return int(
            self._fetch_rows(
                sql.SQL("SELECT count(*) FROM {} WHERE run = %s").format(_table_identifier(table)),
                [run],
            )[0][0]
        )

    def commit(self) -> None:
        """Commit. If the response is lost, the part is delivered again, which is harmless."""
        self._execute("COMMIT")

    def close(self) -> None:
        """Close the connection. Rolls back an open transaction."""
        with suppress(*POSTGRES_ERRORS):
            self._connection.close()

    def _create_staging_table(self, table: str, columns: Sequence[str]) -> None:
        creation = sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA")
        name = sql.Identifier("promptmill_staged")
        self._execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_STAGING_TABLE))
        self._execute(creation.format(name, _column_list(columns), _table_identifier(table)))

    def _execute(self, query: str | sql.Composed, values: Sequence[object] = ()) -> int:
        with self._translate_errors():
            return int(self._connection.execute(query, values).rowcount)

    def _fetch_rows(
        self, query: str | sql.Composed, values: Sequence[object] = ()
    ) -> list[TupleRow]:
        with self._translate_errors():
            return list(self._connection.execute(query, values).fetchall())

    def _translate_errors(self) -> AbstractContextManager[None]:
        return translate_errors(self.name)


def _creation_statement(
    table: str, columns: Sequence[tuple[str, str]], primary_key: Sequence[str]
) -> sql.Composed:
    definitions = [
        sql.SQL("{} {}").format(sql.Identifier(name), _trusted_sql(type_name))
        for name, type_name in columns
    ]
    definitions.append(sql.SQL("PRIMARY KEY ({})").format(_column_list(primary_key)))
    statement = sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})")
    return statement.format(_table_identifier(table), sql.SQL(", ").join(definitions))


def _table_identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _column_list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _column_identifier(column: Column) -> sql.Identifier:
    return sql.Identifier(column.name)


def _conflict_action(
    columns: Sequence[Column], compared_columns: Sequence[Column]
) -> sql.Composable:
    if not compared_columns:
        return sql.SQL("NOTHING")
    updated_columns = [column for column in columns if column.name not in _KEY_COLUMNS]
    return sql.SQL("UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
        sql.SQL(", ").join(map(_column_assignment, updated_columns)),
        _comparable_columns("kept", compared_columns),
        _comparable_columns("excluded", compared_columns),
    )


def _column_assignment(column: Column) -> sql.Composed:
    return sql.SQL("{0} = excluded.{0}").format(_column_identifier(column))


def _staged_value(column: Column) -> sql.Composable:
    """Return the copied value, or else the column's default."""
    if not column.default:
        return _column_identifier(column)
    return sql.SQL("coalesce({}, {})").format(
        _column_identifier(column), _trusted_sql(column.default)
    )


def _trusted_sql(text: str) -> sql.SQL:
    """Return SQL that comes from the code or from PostgreSQL's catalog."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]


def _comparable_columns(side: str, columns: Sequence[Column]) -> sql.Composed:
    """Return the columns of one side of a comparison. The type json is compared as text."""
    as_text = {"json": sql.SQL("{}::text")}
    plain = sql.SQL("{}")
    identifiers = [
        (as_text.get(column.type_name, plain), sql.Identifier(side, column.name))
        for column in columns
    ]
    return sql.SQL(", ").join([template.format(name) for template, name in identifiers])
