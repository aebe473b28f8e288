"""``promptmill list``, ``describe`` and ``wait``."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from promptmill.cli import cost_tables, output, status_text
from promptmill.cli.options import (
    ObjectFormatOption,
    RowFormatOption,
    RunId,
    format_time,
    parse_span,
)
from promptmill.cli.output import ObjectFormat, Record, RowFormat
from promptmill.cli.submit import wait_for_run
from promptmill.config import spans

if TYPE_CHECKING:
    from rich.console import RenderableType

    from promptmill.producers import RunStatus, ShardStatus


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("list")(list_runs)
    app.command()(describe)
    app.command()(wait)


def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    output_format: RowFormatOption = RowFormat.table,
) -> None:
    """List the newest runs.

    \b
    promptmill list
    promptmill list --limit 1000 --format csv
    """
    if output_format is not RowFormat.table:
        output.write_records(map(_summary_record, _newest_statuses(limit)), output_format)
    elif rows := overview_rows(limit):
        output.stdout_console().print(output.build_table(rows))
    else:
        typer.echo("no run is known here; make one with: promptmill submit FILE", err=True)


def overview_rows(limit: int) -> list[Record]:
    """Return what a table of the newest runs has of each, which is as much as fits in a terminal."""
    now = time.time()
    return [_overview_row(status, now) for status in _newest_statuses(limit)]


def _newest_statuses(limit: int) -> "Iterator[RunStatus]":
    from promptmill.producers import Promptmill, RunNotFound

    for run in Promptmill().runs(limit):
        try:
            yield run.status
        except RunNotFound:  # it was forgotten between the two looks
            continue


def describe(run_id: RunId, output_format: ObjectFormatOption = ObjectFormat.table) -> None:
    """Say where a run stands: counts, shards, jobs, times.

    \b
    promptmill describe 01kq
    promptmill describe 01kq --format json
    """
    from promptmill.producers import Promptmill

    status = Promptmill().get(run_id).status
    if output_format is ObjectFormat.json:
        output.write_json(status_record(status))
    else:
        output.stdout_console().print(render_status(status))


def wait(
    run_id: RunId,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SPAN", parser=parse_span, help="Such as 90s, 30m or 12h; else for ever."
        ),
    ] = None,
) -> None:
    """Wait until a run is done.

    The exit code says how it went.

    \b
    promptmill wait 01kq --timeout 12h
    """
    from promptmill.producers import Promptmill

    wait_for_run(Promptmill().get(run_id), timeout)


def status_record(status: "RunStatus") -> dict[str, Any]:
    """Return a status as plain values, every field in it, times as text."""
    return msgspec.structs.asdict(status) | {
        "created": format_time(status.created),
        "ended": format_time(status.ended),
        "seconds": max(status.ended - status.created, 0.0),
        "done": status.done,
        "jobs": status.jobs,
        "late": status.late,
        "deduplicated": status.deduplicated,
        "reused": status.reused,
        "warnings": status.warnings,
        "standing": status_text.describe_status(status, time.time()),
        "shards": [msgspec.structs.asdict(shard) for shard in status.shards],
    }


def render_status(status: "RunStatus") -> "RenderableType":
    """Return a run for people to look at."""
    from rich.console import Group

    shards = [_shard_record(shard) for shard in status.shards]
    details = "\n".join(f"{name:<9} {value}" for name, value in _status_lines(status) if value)
    parts = [status_text.describe_status(status, time.time()), "", details]
    return Group(*parts, "", output.build_table(shards)) if shards else Group(*parts)


def _status_lines(status: "RunStatus") -> list[tuple[str, str]]:
    return [
        ("run", status.run),
        ("name", status.name),
        ("state", status.state),
        ("model", status.model),
        ("labels", ", ".join(f"{name}={value}" for name, value in status.labels.items())),
        (
            "requests",
            f"{status.requests:,}: {status.succeeded:,} succeeded, {status.failed:,} failed",
        ),
        (
            "deduplicated",
            f"{status.deduplicated:,} have the answer of another that asks the same"
            if status.deduplicated
            else "",
        ),
        ("reused", f"{status.reused:,} have the answer of an earlier run" if status.reused else ""),
        ("cost", str(status.cost or "")),
        ("jobs", f"{status.jobs:,}" if status.jobs else ""),
        (
            "late",
            f"{status.late:,} answers: promptmill results {status.run} --late"
            if status.late
            else "",
        ),
        ("created", format_time(status.created)),
        ("deadline", format_time(status.created + status.deadline) if status.deadline else ""),
        ("ended", format_time(status.ended) + status_text.format_duration(status)),
        ("error", status.error),
        *(("warning", warning) for warning in status.warnings),
    ]


_RUN_FIELDS = frozenset({"warning", "late", "deduplicated", "reused"})
"""What is told of the run as a whole."""


def _shard_record(shard: "ShardStatus") -> Record:
    return {
        name: value
        for name, value in msgspec.structs.asdict(shard).items()
        if name not in _RUN_FIELDS
    }


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
    """What a run cost, or in brackets what is expected."""
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
