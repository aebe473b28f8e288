"""Runs as text, tables and records."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import typer

from promptmill.cli import cost_tables, output, status_text
from promptmill.cli.options import format_time
from promptmill.cli.output import Record
from promptmill.config import spans

if TYPE_CHECKING:
    from rich.console import RenderableType

    from promptmill.producers import Run, RunStatus, ShardStatus

_RUN_FIELDS = frozenset({"warning", "late", "deduplicated", "reused"})
"""Fields of shards that are shown for the whole run."""


def open_run(run_id: str) -> "Run":
    """Return a run, and print its progress if it has not ended."""
    from promptmill.producers import Promptmill

    run = Promptmill().get(run_id)
    status = run.status
    if not status.done:
        counts = status_text.format_progress(status)
        typer.echo(f"the run is still {status.state}: {counts}", err=True)
    return run


def overview_rows(limit: int) -> list[Record]:
    """Return the newest runs as rows of a table that fits into a terminal."""
    now = time.time()
    return [_overview_row(status, now) for status in _newest_statuses(limit)]


def summary_records(limit: int) -> Iterator[Record]:
    """Yield the newest runs as records for programs."""
    return map(_summary_record, _newest_statuses(limit))


def status_record(status: "RunStatus") -> dict[str, object]:
    """Return all fields of a status as plain values, with times as text."""
    record = msgspec.structs.asdict(status)
    del record["report_warnings"]
    return record | {
        "created": format_time(status.created),
        "ended": format_time(status.ended),
        "seconds": max(status.ended - status.created, 0.0),
        "done": status.done,
        "jobs": status.jobs,
        "late": status.late,
        "deduplicated": status.deduplicated,
        "reused": status.reused,
        "warnings": status.warnings,
        "summary": status_text.describe_status(status, time.time()),
        "shards": [msgspec.structs.asdict(shard) for shard in status.shards],
    }


def render_status(status: "RunStatus") -> "RenderableType":
    """Return a status as text and a table of shards."""
    from rich.console import Group

    shards = [_shard_record(shard) for shard in status.shards]
    details = "\n".join(f"{name:<12} {value}" for name, value in _status_lines(status) if value)
    parts = [status_text.describe_status(status, time.time()), "", details]
    return Group(*parts, "", output.build_table(shards)) if shards else Group(*parts)


def _newest_statuses(limit: int) -> "Iterator[RunStatus]":
    from promptmill.producers import Promptmill, RunNotFound

    for run in Promptmill().runs(limit):
        try:
            yield run.status
        except RunNotFound:  # it expired after the list was read
            continue


def _status_lines(status: "RunStatus") -> list[tuple[str, str]]:
    return [
        ("run", status.run),
        ("name", status.name),
        ("state", status.state),
        ("model", status.model),
        ("labels", ", ".join(f"{name}={value}" for name, value in status.labels.items())),
        ("requests", _count_outcomes(status)),
        *_reuse_lines(status),
        ("cost", str(status.cost or "")),
        ("jobs", f"{status.jobs:,}" if status.jobs else ""),
        ("created", format_time(status.created)),
        ("deadline", format_time(status.created + status.deadline) if status.deadline else ""),
        ("ended", format_time(status.ended) + status_text.format_duration(status)),
        ("error", status.error),
        *(("warning", warning) for warning in status.warnings),
    ]


def _count_outcomes(status: "RunStatus") -> str:
    return f"{status.requests:,}: {status.succeeded:,} succeeded, {status.failed:,} failed"


def _reuse_lines(status: "RunStatus") -> Iterator[tuple[str, str]]:
    if status.deduplicated:
        yield "deduplicated", f"{status.deduplicated:,} share the answer of an identical request"
    if status.reused:
        yield "reused", f"{status.reused:,} have the answer of an earlier run"
    if status.late:
        yield "late", f"{status.late:,} answers: promptmill results {status.run} --late"


def _shard_record(shard: "ShardStatus") -> Record:
    fields = msgspec.structs.asdict(shard)
    return {name: value for name, value in fields.items() if name not in _RUN_FIELDS}


def _overview_row(status: "RunStatus", now: float) -> Record:
    return {
        "run": status.run,
        "state": status.state.replace("_", " ") + (" (see describe)" if status.warnings else ""),
        "name": status.name,
        "done": f"{status.succeeded + status.failed:,} of {status.requests:,}",
        "failed": status.failed,
        "cost": _format_cost(status),
        "age": spans.format_duration(now - status.created),
    }


def _format_cost(status: "RunStatus") -> str:
    """Return the cost of a run, or its estimate in parentheses."""
    cost = status.cost
    if cost is None:
        return ""
    if status.done:
        return cost_tables.format_usd(cost.usd)
    return (
        f"({cost_tables.format_usd(cost.estimate.usd)})"
        if cost.estimate and cost.estimate.usd is not None
        else ""
    )


def _summary_record(status: "RunStatus") -> Record:
    return {
        "run": status.run,
        "state": status.state,
        "name": status.name,
        "model": status.model.removeprefix("publishers/google/models/"),
        "requests": status.requests,
        "succeeded": status.succeeded,
        "failed": status.failed,
        "jobs": status.jobs,
        "usd": status.cost and status.cost.usd,
        "estimated_usd": status.cost and status.cost.estimate and status.cost.estimate.usd,
        "warnings": len(status.warnings),
        "created": format_time(status.created),
        "took": spans.format_duration(status.ended - status.created) if status.ended else "",
    }
