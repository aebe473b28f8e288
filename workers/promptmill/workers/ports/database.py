"""What a sink needs of a database: to know its table, and to put rows into it, all or none. There is no fake of SQL."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from promptmill.config.errors import Permanent


class RowsRejected(Permanent):
    """Rows do not fit into their table. The words name column, type or constraint, and quote nothing of a row."""


class Column(NamedTuple):
    """A column as the database tells it.

    ``type_category`` is PostgreSQL's ``typcategory``, ``type`` has length and precision. ``default`` is an expression in SQL,
    empty when there is none. ``missing_privileges`` has the privileges that are missing.
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
    """A table as ``role`` sees it; ``kind`` is PostgreSQL's ``relkind``, ``has_unique_key`` whether (run, key) is."""

    kind: str
    role: str
    has_unique_key: bool
    columns: tuple[Column, ...]


class Database(Protocol):
    """A connection to a database, for one delivery: opened for it, and closed after it. Names of tables may have a schema.

    Every method may raise Transient, Denied among them, and Permanent; those that write rows raise Rejected.
    """

    @property
    def name(self) -> str:
        """What people may see of where it is."""
        ...

    def describe_table(self, table: str) -> TableInfo | None:
        """Return what is known of a table, or None when there is none."""
        ...

    def can_create_temp_tables(self) -> bool:
        """Whether temporary tables may be made."""
        ...

    def create_table(
        self, table: str, columns: Sequence[tuple[str, str]], primary_key: Sequence[str]
    ) -> None:
        """Make a table unless it exists, from names and types of columns in SQL, and its primary key."""
        ...

    def begin(self) -> None:
        """Begin a transaction, in which no statement may take longer than a minute."""
        ...

    def copy_rows(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """COPY rows, and nothing else, beside the table, where only this transaction sees them."""
        ...

    def upsert_rows(
        self, table: str, columns: Sequence[Column], compared_columns: Sequence[Column]
    ) -> int:
        """Upsert by (run, key) what was copied; rows that differ in nothing that is ``compared_columns`` are left alone.

        Returns the number of rows that were changed.
        """
        ...

    def set_savepoint(self) -> None:
        """Set a point in the transaction to which ``rollback_to_savepoint`` goes back."""
        ...

    def rollback_to_savepoint(self) -> None:
        """Go back to the last ``set_savepoint``."""
        ...

    def delete_part(self, table: str, run: str, part: str) -> None:
        """Delete the rows of one part of a run, from a table that has columns ``run`` and ``part``."""
        ...

    def insert_row(self, table: str, row: Sequence[tuple[str, Any]]) -> None:
        """Insert a row, given as columns and values, unless its key is there."""
        ...

    def count_rows(self, table: str, run: str) -> int:
        """Return how many rows of a run a table has that has a column ``run``."""
        ...

    def commit(self) -> None:
        """Make the transaction's rows visible, all at once."""
        ...

    def close(self) -> None:
        """Give the connection back; a transaction that was not committed leaves nothing."""
        ...
