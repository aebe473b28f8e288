"""Names of BigQuery tables."""

import re
from typing import NamedTuple

from promptmill.config.errors import ConfigurationError

BIGQUERY_SCHEME = "bq://"
_TABLE_NAME = re.compile(
    r"(?:bq://)?((?:[a-z0-9.-]{1,200}:)?[a-z0-9][a-z0-9-]{0,62})"
    r"\.([A-Za-z0-9_]{1,1024})\.([A-Za-z0-9_-]{1,1024})"
)


class Table(NamedTuple):
    """A BigQuery table. Its name needs no escaping inside backticks."""

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
    """Parse ``project.dataset.table``, with or without ``bq://``.

    BigQuery also allows spaces and letters of all scripts in the name of a table. They
    are refused here, because the name becomes part of SQL. Raises ConfigurationError.
    """
    match = _TABLE_NAME.fullmatch(name)
    if match is None:
        raise ConfigurationError(
            f"{name[:200]!r} is not a BigQuery table; use project.dataset.table"
        )
    return Table(*match.groups())


def parse_dataset(name: str) -> str:
    """Return ``project.dataset`` of a name with or without ``bq://``.

    Raises ConfigurationError.
    """
    try:
        return str(parse_table(f"{name.rstrip('/')}.all")).removesuffix(".all")
    except ConfigurationError:
        raise ConfigurationError(
            f"{name[:200]!r} is not a BigQuery dataset; use project.dataset"
        ) from None
