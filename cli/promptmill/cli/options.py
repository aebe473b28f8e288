"""Arguments and options that several verbs have in common."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from promptmill.cli.output import ObjectFormat, RowFormat
from promptmill.config import spans

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or how it starts.")]
RowFormatOption = Annotated[RowFormat, typer.Option("--format", help="How to show the rows.")]
ObjectFormatOption = Annotated[ObjectFormat, typer.Option("--format", help="How to show it.")]
DataDirectory = Annotated[
    Path,
    typer.Option(
        "--data", metavar="DIR", help="Where the local stack keeps its data.", file_okay=False
    ),
]
DEFAULT_DATA_DIRECTORY = Path(".promptmill")

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A .jsonl or .txt file of prompts, or - for stdin; with --template, of rows.",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Jinja that makes a prompt of a row; or @FILE, where it is."),
]
Key = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The key of a row: a column, or Jinja; else its number."),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN", help="A column that comes back with the answer; may be repeated."
    ),
]
Media = Annotated[
    list[str] | None,
    typer.Option(metavar="URI", help="A column or Jinja with a file's URI; may be repeated."),
]
MediaType = Annotated[
    str | None, typer.Option(metavar="TYPE", help="Its MIME type; else its name tells.")
]
System = Annotated[
    str | None, typer.Option(metavar="TEXT", help="The system instruction, or @FILE; may be Jinja.")
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help="Google's generationConfig for all rows, or @FILE.", show_default=False
    ),
]


def check_label(text: str) -> str:
    """Check an option that is ``name=value``."""
    if not text.partition("=")[0] or "=" not in text:
        raise typer.BadParameter(f"{text!r} is not name=value")
    return text


def labels_to_dict(labels: list[str] | None) -> dict[str, str]:
    """Return options that are ``name=value`` as a mapping."""
    return {name: value for name, _, value in (text.partition("=") for text in labels or ())}


Model = Annotated[
    str | None, typer.Option(help="For example gemini-3.8-flash; else PROMPTMILL_MODEL.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="K=V", parser=check_label, help="A label; may be repeated."),
]
Sinks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLACE",
        help="gs://bucket/folder/, a file, bq://project.dataset.table, postgres:NAME#table or webhook:NAME; repeatable.",
    ),
]
ResponseSchema = Annotated[
    str,
    typer.Option(
        metavar="FILE.json|MODULE:MODEL",
        help="What answers must fit: a JSON schema, or a pydantic model.",
    ),
]


def parse_callback(text: str) -> dict[str, Any]:
    """Parse an option ``task`` or ``task@queue`` into a signature."""
    task, separator, queue = text.partition("@")
    if not task or (separator and not queue):
        raise typer.BadParameter(f"{text!r} is not TASK or TASK@QUEUE")
    return {"task": task, "options": {"queue": queue} if queue else {}}


def _callback_option(help_text: str) -> Any:
    return typer.Option(
        metavar="TASK[@QUEUE]", parser=parse_callback, help=f"{help_text}; may be repeated."
    )


Link = Annotated[
    list[Any] | None, _callback_option("A Celery task of yours to call if it ends well")
]
LinkError = Annotated[list[Any] | None, _callback_option("One to call if it does not")]
LinkResults = Annotated[list[Any] | None, _callback_option("One to hand all results to")]


def row_options(
    template: str | None,
    key: str | None,
    metadata: list[str] | None,
    media: list[str] | None,
    media_type: str | None,
    system: str | None,
    config: str | None,
) -> dict[str, Any]:
    """Return the arguments of ``submit_rows`` that make requests of rows; none where there is no template."""
    row_only_options = {
        "--key": key,
        "--metadata": metadata,
        "--media": media,
        "--media-type": media_type,
    }
    row_only_options |= {"--system": system, "--config": config}
    if template is None:
        if misplaced := next((name for name, value in row_only_options.items() if value), None):
            raise typer.BadParameter(
                f"{misplaced} says something about rows, which need a --template"
            )
        return {}
    media_files = [
        {"uri": uri} | ({"mime_type": media_type} if media_type else {}) for uri in media or []
    ]
    return {
        "template": _read_text(template),
        "key": key,
        "metadata": metadata or [],
        "media": media_files,
        "system_instruction": _read_text(system) if system else None,
        "generation_config": _parse_json_object(_read_text(config)) if config else None,
    }


def _read_text(text: str) -> str:
    """Read an option from the file that ``@FILE`` names."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{text}: {error}") from None


def _parse_json_object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"--config is a JSON object: {error}") from None


def parse_span(text: str | float) -> float:
    """Parse an option that is a span of time into seconds."""
    try:
        return spans.parse_duration(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def format_time(seconds: float) -> str:
    """Return a time (seconds since the epoch) as ISO 8601 in UTC, "" for 0."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""
