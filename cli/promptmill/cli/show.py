"""``promptmill show``."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptmill.cli import bucket, output
from promptmill.cli.arguments import OneFormat, RunId, moment
from promptmill.cli.output import Shape

if TYPE_CHECKING:
    from rich.console import RenderableType


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(show)


def show(
    run: RunId,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The request's key; its row, counted from 1, if it has none.")
    ],
    form: OneFormat = Shape.table,
) -> None:
    """Show one request's whole story.

    The request as it was sent, each attempt with its job and what came of it, and which sinks have the result.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    promptmill show 01kq sku-1
    promptmill show 01kq 17 --format json
    """
    from promptmill.producers import Promptmill

    story = _with_times(bucket.call("show", Promptmill().get(run).id, key))
    if form is Shape.json:
        output.write_json(story)
    else:
        output.to_stdout().print(portrait(story))


def _with_times(story: dict[str, Any]) -> dict[str, Any]:
    attempts = [
        one
        | {"created": moment(one["created"]), "ended": moment(one["ended"])}
        | {"delivered": [{**delivery, "at": moment(delivery["at"])} for delivery in one["delivered"]]}
        for one in story["attempts"]
    ]
    return story | {"attempts": attempts}


def portrait(story: dict[str, Any]) -> "RenderableType":
    """Return a story for people to read."""
    from rich.console import Group

    parts = ["\n".join(f"{name:<9} {value}" for name, value in _lines(story) if value not in ("", None))]
    for attempt in story["attempts"]:
        parts += ["", "\n".join(f"{name:<9} {value}" for name, value in _attempt(attempt) if value not in ("", None))]
    return Group(*parts)


def _lines(story: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "key", story["key"]
    yield "run", story["run"]
    yield "state", story["state"]
    yield (
        "place",
        f"row {story['row']}, chunk {story['chunk']}" + (f", shard {story['shard']}" if "shard" in story else ""),
    )
    yield "refused", story["refused"]
    yield "metadata", json.dumps(story["metadata"], ensure_ascii=False) if story["metadata"] else ""
    yield "request", json.dumps(story["request"], ensure_ascii=False, indent=2) if story["request"] else ""


def _attempt(one: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    result = one["result"] or {}
    error = result.get("error") or {}
    yield "attempt", f"{one['attempt']}" + (", tried again" if one["tried_again"] else "")
    yield "job", one["job"]
    yield "created", one["created"]
    yield "refusal", one["refusal"]
    yield "ended", " ".join(filter(None, (one["ended"], one["job_state"], one["error"])))
    yield "state", result.get("state", "")
    yield "finish", result.get("finish_reason", "")
    yield "reason", ": ".join(filter(None, (error.get("reason"), error.get("message"))))
    yield "tokens", json.dumps(result["usage"]) if result.get("usage") else ""
    yield "text", result.get("text", "")
    for delivery in one["delivered"]:
        yield "sink", f"{delivery['sink']} {delivery['at'] or 'not yet'}"
