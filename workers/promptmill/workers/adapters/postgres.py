"""PostgreSQL behind the ``Database`` port."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql

from promptmill.config.errors import Permanent, PromptmillError, Transient
from promptmill.workers.database import Column, Rejected, Table

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
_PASSING_CLASSES = ("08", "40", "53", "57", "58")
"""Of SQLSTATEs: connection, rollback (deadlock, serialization), resources (disk full), operator (shutdown), system."""
_PASSING = ("55P03", "25006", "25P03", "25P04")
"""A lock that is held too long, a server that takes no writes just now, a session that was idle for too long."""
_FOREIGN = (psycopg.Error, psycopg.Warning, OSError)
_UNFIT_CLASSES = ("21", "22", "23", "44")
"""Values that their columns or constraints do not take; the words of these quote the values."""


def open_database(url: str, name: str) -> "PostgresDatabase":
    """Connect to ``postgresql://…``, which people are to see as ``name``; raises Transient, Permanent."""
    with _translated(name):
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
        with suppress(*_FOREIGN):
            self._connection.close()

    def _execute(self, query: Any, values: Sequence[Any] = ()) -> int:
        with self._translated():
            return int(self._connection.execute(query, values).rowcount)

    def _rows(self, query: Any, values: Sequence[Any] = ()) -> list[Any]:
        with self._translated():
            return list(self._connection.execute(query, values).fetchall())

    def _translated(self) -> Any:
        return _translated(self.name)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """The one place where the library's errors become ours. They are not chained: a traceback would show what they quote."""
    try:
        yield
    except _FOREIGN as error:
        raise _translation(where, error) from None


def _translation(where: str, error: Exception) -> PromptmillError:
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_UNFIT_CLASSES):
        return Rejected(f"{where}: {_unfit(error)}")
    if state.startswith(_PASSING_CLASSES) or state in _PASSING:
        return Transient(f"{where}: {_words(error)}")
    if state or not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError):
        return Permanent(f"{where}: {_words(error)}")
    if _refused_at_the_door(error):
        return Permanent(f"{where}: {_words(error)}")
    return Transient(f"{where}: {_words(error)}")


def _refused_at_the_door(error: Exception) -> bool:
    """Whether the server answered and let nobody in: psycopg tells no SQLSTATE of what fails while it connects."""
    words = str(error)
    if any(
        mark in words
        for mark in ("the database system is", "too many", "remaining connection slots", "cannot connect now")
    ):
        return False
    return "FATAL:" in words or "no password supplied" in words or "certificate" in words


def _words(error: Exception) -> str:
    """Return what people should read of an error: the server's own words, or those of a connection that failed."""
    told = getattr(getattr(error, "diag", None), "message_primary", None)
    if not told and isinstance(error, psycopg.OperationalError):
        told = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _unfit(error: Any) -> str:
    """Say what does not fit, by names alone."""
    names = [f"{kind} {name}" for kind in ("column", "constraint", "datatype") if (name := _named_by(error, kind))]
    return " ".join([type(error).__name__, *names])


def _named_by(error: Any, kind: str) -> str:
    """Return the name of a column, constraint or type. The context of a COPY names the column, then quotes the value."""
    if name := getattr(error.diag, f"{kind}_name", None):
        return str(name)
    context = error.diag.context or ""
    if kind == "column" and context.startswith("COPY ") and ", column " in context:
        return str(context.split(", column ", 1)[1].split(":", 1)[0])
    return ""


_KEY = ("run", "key")


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
