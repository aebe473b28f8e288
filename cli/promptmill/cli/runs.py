"""``promptmill list``, ``describe`` and ``wait``."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from promptmill.cli import money, output, words
from promptmill.cli.arguments import OneFormat, RowsFormat, RunId, moment, span
from promptmill.cli.output import Format, Record, Shape
from promptmill.cli.submit import wait_for
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
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20, form: RowsFormat = Format.table
) -> None:
    """List the newest runs.

    \b
    promptmill list
    promptmill list --limit 1000 --format csv
    """
    if form is not Format.table:
        output.write(map(_summary, _newest(limit)), form)
    elif rows := overview(limit):
        output.to_stdout().print(output.table(rows))
    else:
        typer.echo("no run is known here; make one with: promptmill submit FILE", err=True)


def overview(limit: int) -> list[Record]:
    """Return what a table of the newest runs has of each, which is as much as fits in a terminal."""
    now = time.time()
    return [_row(status, now) for status in _newest(limit)]


def _newest(limit: int) -> "Iterator[RunStatus]":
    from promptmill.producers import Promptmill, RunNotFound

    for run in Promptmill().runs(limit):
        try:
            yield run.status
        except RunNotFound:  # it was forgotten between the two looks
            continue


def describe(run: RunId, form: OneFormat = Shape.table) -> None:
    """Say where a run stands: counts, shards, jobs, times.

    \b
    promptmill describe 01kq
    promptmill describe 01kq --format json
    """
    from promptmill.producers import Promptmill

    status = Promptmill().get(run).status
    if form is Shape.json:
        output.write_json(facts(status))
    else:
        output.to_stdout().print(portrait(status))


def wait(
    run: RunId,
    timeout: Annotated[
        float | None, typer.Option(metavar="SPAN", parser=span, help="Such as 90s, 30m or 12h; else for ever.")
    ] = None,
) -> None:
    """Wait until a run is done.

    The exit code says how it went.

    \b
    promptmill wait 01kq --timeout 12h
    """
    from promptmill.producers import Promptmill

    wait_for(Promptmill().get(run), timeout)


def facts(status: "RunStatus") -> dict[str, Any]:
    """Return a status as plain values, every field in it, times as text."""
    return msgspec.structs.asdict(status) | {
        "created": moment(status.created),
        "ended": moment(status.ended),
        "seconds": max(status.ended - status.created, 0.0),
        "done": status.done,
        "jobs": status.jobs,
        "late": status.late,
        "copies": status.copies,
        "reused": status.reused,
        "warnings": status.warnings,
        "standing": words.standing(status, time.time()),
        "shards": [msgspec.structs.asdict(shard) for shard in status.shards],
    }


def portrait(status: "RunStatus") -> "RenderableType":
    """Return a run for people to look at."""
    from rich.console import Group

    shards = [_shard(shard) for shard in status.shards]
    facts = "\n".join(f"{name:<9} {value}" for name, value in _lines(status) if value)
    parts = [words.standing(status, time.time()), "", facts]
    return Group(*parts, "", output.table(shards)) if shards else Group(*parts)


def _lines(status: "RunStatus") -> list[tuple[str, str]]:
    return [
        ("run", status.run),
        ("name", status.name),
        ("state", status.state),
        ("model", status.model),
        ("labels", ", ".join(f"{name}={value}" for name, value in status.labels.items())),
        ("requests", f"{status.requests:,}: {status.succeeded:,} succeeded, {status.failed:,} failed"),
        ("copies", f"{status.copies:,} have the answer of another that asks the same" if status.copies else ""),
        ("reused", f"{status.reused:,} have the answer of an earlier run" if status.reused else ""),
        ("cost", str(status.cost or "")),
        ("jobs", f"{status.jobs:,}" if status.jobs else ""),
        ("late", f"{status.late:,} answers: promptmill results {status.run} --late" if status.late else ""),
        ("created", moment(status.created)),
        ("deadline", moment(status.created + status.deadline) if status.deadline else ""),
        ("ended", moment(status.ended) + words.took(status)),
        ("error", status.error),
        *(("warning", words) for words in status.warnings),
    ]


_OF_RUN = frozenset({"warning", "late", "copies", "reused"})
"""What is told of the run as a whole."""


def _shard(shard: "ShardStatus") -> Record:
    return {name: value for name, value in msgspec.structs.asdict(shard).items() if name not in _OF_RUN}


def _row(status: "RunStatus", now: float) -> Record:
    return {
        "run": status.run,
        "state": status.state.replace("_", " ") + (" (see describe)" if status.warnings else ""),
        "name": status.name,
        "done": f"{status.succeeded + status.failed:,} of {status.requests:,}",
        "failed": status.failed,
        "cost": _cost(status),
        "age": spans.show(now - status.created),
    }


def _cost(status: "RunStatus") -> str:
    """What a run cost, or in brackets what is expected."""
    cost = status.cost
    if cost is None:
        return ""
    if status.done:
        return money.amount(cost.usd)
    return f"({money.amount(cost.estimate.usd)})" if cost.estimate and cost.estimate.usd is not None else ""


def _summary(status: "RunStatus") -> Record:
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
        "created": moment(status.created),
        "took": spans.show(status.ended - status.created) if status.ended else "",
    }
