"""What a sink needs of a database: describe a table, and write rows in a transaction.

There is no fake: tests use a real PostgreSQL.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from promptmill.config.errors import Permanent


class RowsRejected(Permanent):
    """The table rejects rows. The message names column, type or constraint, and no value."""


class Column(NamedTuple):
    """A column of a table.

    ``type`` includes length and precision. ``type_category`` is PostgreSQL's
    ``typcategory``. ``default`` is an SQL expression, or empty. ``missing_privileges``
    are privileges that the role lacks.
    """

    name: str
    type: str
    type_name: str
    type_category: str
    required: bool
    writable: bool
    default: str
    missing_privileges: tuple[str, ...]


class TableInfo(NamedTuple):
    """A table as ``role`` sees it.

    ``kind`` is PostgreSQL's ``relkind``. ``has_unique_key`` is whether (run, key) is
    unique.
    """

    kind: str
    role: str
    has_unique_key: bool
    columns: tuple[Column, ...]


class Database(Protocol):
    """A connection for one delivery. Table names may include a schema.

    Every method may raise Transient, Denied and Permanent. Methods that write rows may
    raise RowsRejected.
    """

    @property
    def name(self) -> str:
        """The public name of the database."""
        ...

    def describe_table(self, table: str) -> TableInfo | None:
        """Return a table's columns and privileges, or None if it does not exist."""
        ...

    def has_type(self, name: str) -> bool:
        """Whether a type of this name can be used without its schema."""
        ...

    def can_create_temp_tables(self) -> bool:
        """Whether the role may create temporary tables."""
        ...

    def create_table(
        self, table: str, columns: Sequence[tuple[str, str]], primary_key: Sequence[str]
    ) -> None:
        """Create a table unless it exists, from the SQL names and types of its columns."""
        ...

    def begin(self) -> None:
        """Begin a transaction. Its statements time out after a minute."""
        ...

    def copy_rows(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """COPY rows to a staging table that only this transaction sees."""
        ...

    def upsert_rows(
        self, table: str, columns: Sequence[Column], compared_columns: Sequence[Column]
    ) -> int:
        """Upsert the copied rows by (run, key) if ``compared_columns`` differ. Returns how many."""
        ...

    def set_savepoint(self) -> None:
        """Set a savepoint in the transaction."""
        ...

    def rollback_to_savepoint(self) -> None:
        """Roll back to the last savepoint."""
        ...

    def delete_part(self, table: str, run: str, part: str) -> None:
        """Delete the rows of one part from a table with columns ``run`` and ``part``."""
        ...

    def insert_row(self, table: str, row: Sequence[tuple[str, object]]) -> None:
        """Insert a row, given as columns and values, unless its key exists."""
        ...

    def count_rows(self, table: str, run: str) -> int:
        """Return the number of rows of a run, in a table with a column ``run``."""
        ...

    def commit(self) -> None:
        """Commit the transaction. Its rows become visible together."""
        ...

    def close(self) -> None:
        """Close the connection. Rolls back an open transaction."""
        ...
