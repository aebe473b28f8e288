"""Names of BigQuery tables."""

import re
from typing import NamedTuple

from promptmill.config.errors import ConfigurationError

BIGQUERY_SCHEME = "bq://"
_TABLE_NAME = re.compile(
    r"(?:bq://)?((?:[a-z0-9.-]{1,200}:)?[a-z0-9][a-z0-9-]{0,62})\.([A-Za-z0-9_]{1,1024})\.([A-Za-z0-9_-]{1,1024})"
)


class Table(NamedTuple):
    """A table of a dataset of a project; of no other letters than those that need no quoting inside backticks."""

    project: str
    dataset: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}.{self.name}"

    @property
    def url(self) -> str:
        """``bq://project.dataset.table``."""
        return BIGQUERY_SCHEME + str(self)


def parse_table(name: str) -> Table:
    """Read ``project.dataset.table``, with or without ``bq://`` before it; raises ConfigurationError.

    BigQuery allows more in the name of a table: spaces, letters of all scripts. They are left out, as the name is put
    into SQL.
    """
    match = _TABLE_NAME.fullmatch(name)
    if match is None:
        raise ConfigurationError(
            f"{name[:200]!r} is no BigQuery table; it must look like project.dataset.table"
        )
    return Table(*match.groups())


def parse_dataset(name: str) -> str:
    """Return ``project.dataset`` of a name that may have ``bq://`` before it; raises ConfigurationError."""
    try:
        return str(parse_table(f"{name.rstrip('/')}.all")).removesuffix(".all")
    except ConfigurationError:
        raise ConfigurationError(
            f"{name[:200]!r} is no BigQuery dataset; it must look like project.dataset"
        ) from None
