"""``promptmill show``."""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptmill.cli import entry_points, output
from promptmill.cli.help_text import add_help
from promptmill.cli.options import ObjectFormatOption, RunId, format_time
from promptmill.cli.output import ObjectFormat

if TYPE_CHECKING:
    from rich.console import RenderableType


Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="Key of the request, or its row number, which counts from 1."
    ),
]


@add_help(
    """
    Shows the request as sent, each attempt with its job and result, and the sinks that
    have the result.

    Needs access to the bucket: pip install 'promptmill[worker]'.

    \b
    Examples:
      promptmill show 01kq sku-1
      promptmill show 01kq 17 --format json
    """
)
def show(run_id: RunId, key: Key, output_format: ObjectFormatOption = ObjectFormat.table) -> None:
    """Show the history of one request."""
    from promptmill.producers import Promptmill

    history = _format_times(entry_points.call_entry_point("show", Promptmill().get(run_id).id, key))
    if output_format is ObjectFormat.json:
        output.write_json(history)
    else:
        output.stdout_console().print(render_history(history))


def _format_times(history: dict[str, Any]) -> dict[str, Any]:
    attempts = [
        attempt
        | {"created": format_time(attempt["created"]), "ended": format_time(attempt["ended"])}
        | {
            "delivered": [
                {**delivery, "at": format_time(delivery["at"])} for delivery in attempt["delivered"]
            ]
        }
        for attempt in history["attempts"]
    ]
    return history | {"attempts": attempts}


def render_history(history: dict[str, Any]) -> "RenderableType":
    """Return the history as text."""
    from rich.console import Group

    parts = [_format_lines(_request_lines(history))]
    for attempt in history["attempts"]:
        parts += ["", _format_lines(_attempt_lines(attempt))]
    return Group(*parts)


def _format_lines(lines: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"{name:<9} {value}" for name, value in lines if value not in ("", None))


def _request_lines(history: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "key", history["key"]
    yield "run", history["run"]
    yield "state", history["state"]
    shard = f", shard {history['shard']}" if "shard" in history else ""
    yield "location", f"row {history['row']}, chunk {history['chunk']}{shard}"
    yield "refused", history["refused"]
    yield "metadata", _format_json(history["metadata"])
    yield "request", _format_json(history["request"], indent=2)


def _format_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent) if value else ""


def _attempt_lines(attempt: dict[str, Any]) -> Iterator[tuple[str, object]]:
    ending = (attempt["ended"], attempt["job_state"], attempt["error"])
    yield "attempt", f"{attempt['attempt']}" + ("; retried" if attempt["is_retried"] else "")
    yield "job", attempt["job"]
    yield "created", attempt["created"]
    yield "refusal", attempt["refusal"]
    yield "ended", " ".join(filter(None, ending))
    yield from _result_lines(attempt["result"] or {})
    for delivery in attempt["delivered"]:
        yield "sink", f"{delivery['sink']} {delivery['at'] or 'pending'}"


def _result_lines(result: dict[str, Any]) -> Iterator[tuple[str, object]]:
    error = result.get("error") or {}
    yield "state", result.get("state", "")
    yield "finish", result.get("finish_reason", "")
    yield "reason", ": ".join(filter(None, (error.get("reason"), error.get("message"))))
    yield "tokens", _format_json(result.get("usage"))
    yield "text", result.get("text", "")
