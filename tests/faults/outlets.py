"""One sink of every kind for a group of workers, and the rows that each received."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from pyarrow import parquet
from standardwebhooks.webhooks import Webhook

from faults.invariants import observe, violations
from faults.worker_group import BUCKET, WorkerGroup, rows_in
from promptmill.producers import Result, Run
from promptmill.producers.contract import sink_specs
from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.adapters.storage import open_bucket
from support.local_stack import read_results
from support.postgres import PostgresServer, postgres_server
from support.receiver import Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SETTINGS = {"PROMPTMILL_WEBHOOK_SECRET": SECRET}
"""The settings that workers need to write to all of them."""


@dataclass(frozen=True)
class Outlets:
    """Servers that receive results."""

    postgres: PostgresServer
    receiver: Receiver

    def specs(self, group: WorkerGroup) -> list[SinkSpec]:
        """Return a sink of every kind for this group."""
        return [
            *group.sinks,
            sink_specs.postgres(self.postgres.url(), table=_table(group)),
            sink_specs.parquet(f"{BUCKET}/{group.name}-parquet"),
            sink_specs.parquet(group.folder / "answers.parquet"),
            sink_specs.webhook(self.receiver.url),
        ]

    def violations(self, group: WorkerGroup, run: Run, requests: int) -> list[str]:
        """Return the violations of an ended run in all its sinks."""
        rows = {
            "the file": read_results(group.answers),
            "the folder": rows_in(f"{BUCKET}/{group.name}-answers", run),
            "the table": self.in_table(group, run),
            "the Parquet files": list(_in_parquet_files(f"{BUCKET}/{group.name}-parquet", run)),
            "the Parquet file": _in_parquet((group.folder / "answers.parquet").read_bytes()),
            "the webhook": self._received(run),
        }
        return violations(observe(run, map(str, range(1, requests + 1)), group.stack.jobs, rows))

    def in_table(self, group: WorkerGroup, run: Run) -> list[Result]:
        """Return the rows of a run in the table of a group, with duplicates."""
        return rows_of(self.postgres, run, _table(group))

    def _received(self, run: Run) -> list[Result]:
        """Return the results of verified messages, without duplicate deliveries."""
        messages = {headers["webhook-id"]: (headers, body) for headers, body in self.receiver.got}
        mine = [
            Webhook(SECRET).verify(body, headers)
            for headers, body in messages.values()
            if run.id.encode() in body
        ]
        return [
            msgspec.convert(result, Result) for message in mine for result in message["results"]
        ]


@contextmanager
def outlets() -> Iterator[Outlets]:
    """Run the servers that receive results."""
    with postgres_server() as postgres, receiving() as receiver:
        yield Outlets(postgres, receiver)


def rows_of(server: PostgresServer, run: Run, table: str) -> list[Result]:
    """Return the rows of a run in a table, with duplicates."""
    query = SQL("SELECT * FROM {} WHERE run = %s").format(Identifier(table))
    with (
        psycopg.connect(server.url()) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        return [_result(row) for row in cursor.execute(query, [run.id])]


def _table(group: WorkerGroup) -> str:
    return f"answers_{group.name.replace('-', '_')}"


def _in_parquet_files(folder: str, run: Run) -> Iterator[Result]:
    bucket = open_bucket(folder)
    for stored in bucket.list(run.id):
        yield from _in_parquet(bucket.read(stored.name))


def _in_parquet(data: bytes) -> list[Result]:
    return [_result(row) for row in parquet.read_table(pa.BufferReader(data)).to_pylist()]


def _result(row: dict[str, Any]) -> Result:
    """Rebuild a result from the columns of a row."""
    columns = {
        name: value
        for name, value in row.items()
        if value is not None and name in Result.__struct_fields__
    }
    for name in {"usage", "metadata", "content", "parsed"} & columns.keys():
        columns[name] = (
            json.loads(columns[name]) if isinstance(columns[name], str) else columns[name]
        )
    if row["error_reason"]:
        columns["error"] = {"reason": row["error_reason"], "message": row["error_message"] or ""}
    return msgspec.convert(columns, Result)
